/**
 * Keeps a state in step with a channel: it loads a snapshot, subscribes from the position of that, and applies what follows.
 *
 *             snapshot               caught up with it          not connected
 *   loading ────────────► catching up ────────────────► live ◄────────────────► stale
 *    ▲  ▲ refused for now │                              │
 *    │  └─────────────────┘            reset             │
 *    └───────────────────────────────────────────────────┘
 *
 * While it loads again, readers keep the state that they have, as `stale`. `failed` follows from each, by an error after
 * which it cannot go on.
 */
import type { Client } from '../client.js';
import { Backoff } from '../ground/backoff.js';
import { systemClock } from '../ground/clock.js';
import { errorOf, type RowcastError } from '../ground/error.js';
import { parsePosition, type Row } from '../protocol/index.js';
import { BACKOFF } from '../session/open.js';
import { type Live, LOADING } from '../store/live.js';
import type { StreamEvent, Subscription } from '../subscription/subscription.js';

/** A snapshot. `position`: where its events continue. `until`: the position that it has caught up with; the same by default. */
export interface Snapshot<S> {
  readonly state: S;
  readonly position: string;
  readonly until?: string;
}

export interface FollowerOptions<S, R extends object> {
  readonly client: Pick<Client, 'subscribe'>;
  readonly channel: string;
  /** Rejects with `RowcastError`. Any other error counts as one of the network. */
  readonly load: () => Promise<Snapshot<S>>;
  /** Returns the state after an event. It may be the same object, changed. */
  readonly apply: (state: S, event: StreamEvent<R>) => S;
  /** Called when `live` may have changed. `loaded`: the state is that of a new snapshot. */
  readonly onChange: (loaded: boolean) => void;
}

export class Follower<S, R extends object = Row> {
  readonly #options: FollowerOptions<S, R>;
  readonly #backoff = new Backoff(BACKOFF);
  #live: Live<S> = LOADING;
  #subscription: Subscription<R> | null = null;
  #cancelRetry: (() => void) | null = null;
  #closed = false;

  constructor(options: FollowerOptions<S, R>) {
    this.#options = options;
    void this.#load();
  }

  get live(): Live<S> {
    return this.#live;
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#subscription?.close();
  }

  async #load(): Promise<void> {
    this.#cancelRetry = null;
    let snapshot: Snapshot<S>;
    try {
      snapshot = await this.#options.load();
    } catch (reason) {
      if (this.#closed) return;
      const error = errorOf(reason);
      if (error.retries) this.#cancelRetry = systemClock.after(this.#backoff.next(), () => void this.#load());
      this.#lost(error);
      return;
    }
    if (this.#closed) return;
    try {
      this.#subscribe(snapshot);
    } catch (reason) {
      this.#fail(errorOf(reason)); // the client was closed
    }
  }

  #subscribe({ state: loaded, position, until = position }: Snapshot<S>): void {
    let state = loaded;
    let caughtUp = false;
    const last = parsePosition(until)?.seq ?? 0;
    const ready = () => {
      const first = !caughtUp;
      caughtUp = true;
      this.#backoff.reset();
      this.#tell({ status: 'live', data: state, error: null }, first);
    };
    this.#subscription = this.#options.client.subscribe<R>(this.#options.channel, {
      since: position,
      onEvent: (event) => {
        state = this.#options.apply(state, event);
        if (caughtUp) this.#tell({ ...this.#live, data: state } as Live<S>, false);
        else if (event.seq >= last) ready();
      },
      onReset: () => {
        this.#subscription?.close();
        this.#lost(null);
        void this.#load();
      },
      onState: (current, error) => {
        if (this.#closed) return;
        if (current === 'live' && error === undefined) ready();
        else if (current === 'closed') {
          if (error !== undefined) this.#fail(error);
        } else if (caughtUp) this.#lost(error ?? null);
      },
    });
  }

  /** The state is no longer current, or there is none yet. */
  #lost(error: RowcastError | null): void {
    const { data } = this.#live;
    if (error !== null && !error.retries) this.#fail(error);
    else if (data === undefined) this.#tell({ ...LOADING, error } as Live<S>, false);
    else {
      const asOf = this.#live.status === 'stale' ? this.#live.asOf : Date.now();
      this.#tell({ status: 'stale', data, error, asOf }, false);
    }
  }

  #fail(error: RowcastError): void {
    this.#tell({ status: 'failed', data: this.#live.data, error }, false);
  }

  #tell(live: Live<S>, loaded: boolean): void {
    this.#live = live;
    this.#options.onChange(loaded);
  }
}
