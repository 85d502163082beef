import { leavesOut, type Row, type Since } from '../protocol/index.js';
import type { Reset, StreamEvent } from '../subscription/subscription.js';
import type { Reader } from './reader.js';

/**
 * Computes a state from all events of a channel, one after the other. Pure, and `step` returns the same state if nothing
 * changed. After a reset it begins anew.
 */
export interface Fold<S, R extends object = Row> {
  begin(): S;
  step(state: S, event: StreamEvent<R>): S;
  /** A state to go on from, and the position after its last event; null: there is none, and it begins at the start. */
  readonly seed?:
    | ((channel: string, signal: AbortSignal) => Promise<{ state: S; position: string } | null>)
    | undefined;
  /** Whether no event that matters will follow. */
  readonly ended?: ((state: S) => boolean) | undefined;
}

/** The state of a fold is shown as it is: it is immutable. */
export class FoldReader<S, R extends object> implements Reader<S> {
  readonly #fold: Fold<S, R>;
  readonly #channel: string;
  #state: S;

  constructor(fold: Fold<S, R>, channel: string) {
    this.#fold = fold;
    this.#channel = channel;
    this.#state = fold.begin();
  }

  begin(signal: AbortSignal): Since | Promise<Since> {
    this.#state = this.#fold.begin();
    return this.#fold.seed === undefined ? 'start' : this.#seeded(signal);
  }

  async #seeded(signal: AbortSignal): Promise<Since> {
    const seed = await this.#fold.seed?.(this.#channel, signal);
    if (!seed || signal.aborted) return 'start';
    this.#state = seed.state;
    return seed.position;
  }

  event(event: StreamEvent): void {
    this.#state = this.#fold.step(this.#state, event as StreamEvent<R>);
  }

  /** A single event that is left out changes no other. After any other reset the state would be that of other events. */
  reset({ reason }: Reset): boolean {
    return !leavesOut(reason);
  }

  value(): S {
    return this.#state;
  }

  ended(): boolean {
    return this.#fold.ended?.(this.#state) ?? false;
  }
}
