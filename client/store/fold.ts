import type { Row } from '../protocol/index.js';
import type { StreamEvent } from '../subscription/subscription.js';

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
