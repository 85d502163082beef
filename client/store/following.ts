/**
 * Follows one channel for as long as something looks at it, and keeps what a reader makes of its events.
 *
 *            first subscribe          begun             last unsubscribe, and `leave` later
 *    cold ──────────────────► beginning ────► following ────────────────────────────────────► parked
 *      ▲                          ▲               │  a reset                                   │  │
 *      │                          ├───────────────┘                                            │  │
 *      │                          └────────────────────────────────────────────────────────────┘  │
 *      └───────────────────────────────────────────────────────────────────────────────────────────┘
 *         `forget` later, or memory is short                                    subscribe: goes on at its position
 *
 * `failed` follows from `beginning` and `following` by an error after which it cannot go on, and ends with the next first
 * subscribe, or a retry. The subscription stays while it only has nothing to show, so that a component that is mounted
 * again at once finds everything as it was.
 */
import { Backoff } from '../ground/backoff.js';
import type { Clock } from '../ground/clock.js';
import { errorOf, RowcastError } from '../ground/error.js';
import { parsePosition, type Since } from '../protocol/index.js';
import { BACKOFF } from '../session/open.js';
import type { Reset, SubscribeOptions, Subscription } from '../subscription/subscription.js';
import type { Flusher } from './flush.js';
import { Listeners } from './listeners.js';
import { IDLE, type Live, type Store } from './live.js';
import type { Range, Reader } from './reader.js';
import { isShallowEqual } from './shared.js';

/** The store as it is seen from its channels. */
export interface Host {
  readonly clock: Clock;
  readonly flusher: Flusher;
  readonly leave: number;
  readonly forget: number;
  readonly seconds: Store<number>;
  /** When data last arrived, in milliseconds since 1970. */
  heardAt(): number | null;
  closed(): boolean;
  /** What was made for a key, until `following` is forgotten. */
  shared(key: string, following: Following<unknown>, make: () => unknown): unknown;
  /** Throws `RowcastError` where the connection has failed for good. */
  subscribe(channel: string, options: SubscribeOptions): Subscription;
  opened(following: Following<unknown>): void;
  parked(following: Following<unknown>): void;
  forgotten(following: Following<unknown>): void;
}

export interface FollowingOptions<T> {
  readonly host: Host;
  readonly channel: string;
  readonly reader: Reader<T>;
  /** Whether it goes on where it was left, or begins anew. */
  readonly resumes?: boolean;
  /** What is known from elsewhere, and the position and the time of it. */
  readonly initial?: { readonly position: string; readonly at: number } | undefined;
}

type Phase = 'cold' | 'beginning' | 'following' | 'parked' | 'failed';

export class Following<T> implements Store<Live<T>> {
  readonly channel: string;
  readonly #host: Host;
  readonly #reader: Reader<T>;
  readonly #resumes: boolean;
  readonly #backoff = new Backoff(BACKOFF);
  readonly #listeners = new Listeners(
    () => this.#attach(),
    () => this.#detach(),
  );
  readonly subscribe = this.#listeners.subscribe;
  #phase: Phase = 'cold';
  #subscription: Subscription | null = null;
  /** Ends what the present attempt has under way; what it still reports then is ignored. */
  #attempt: AbortController | null = null;
  /** Where to go on; null: to begin anew. */
  #position: string | null = null;
  /** All events up to a head have arrived since it began: what the reader has is whole. */
  #whole = false;
  #value: T | undefined;
  #changed = false;
  #current = false;
  #error: RowcastError | null = null;
  #asOf = 0;
  /** How many events have arrived since it began, and how many there were to read. */
  #read = 0;
  #total: number | null = null;
  #live: Live<T>;
  readonly #initial: Live<T>;
  #cancelTimer: () => void = () => {};
  #stopTicking: (() => void) | null = null;

  constructor({ host, channel, reader, resumes = true, initial }: FollowingOptions<T>) {
    this.channel = channel;
    this.#host = host;
    this.#reader = reader;
    this.#resumes = resumes;
    if (initial !== undefined) {
      this.#position = initial.position;
      this.#asOf = initial.at;
      this.#whole = true;
      this.#value = reader.value(initial.at, this.#range);
    }
    this.#live = this.#compute();
    this.#initial = initial === undefined ? IDLE : this.#live;
  }

  readonly get = (): Live<T> => this.#live;

  readonly getInitial = (): Live<T> => this.#initial;

  get phase(): Phase {
    return this.#phase;
  }

  /** The value is at most this much memory. */
  get bytes(): number {
    return this.#reader.bytes ?? 0;
  }

  /** The connection is another one: goes on there at its position. */
  move(): void {
    if (this.#phase !== 'beginning' && this.#phase !== 'following') return;
    this.#stop();
    this.#open();
    this.#tell();
  }

  retry(): void {
    if (this.#phase === 'failed' && this.#listeners.any) this.#open();
  }

  /** Leaves the channel, and keeps what it has. */
  park(): void {
    if (this.#phase !== 'beginning' && this.#phase !== 'following') return;
    this.#stop();
    this.#cancelTimer();
    this.#phase = 'parked';
    if (!this.#resumes) this.#position = null;
    this.#tell();
    this.#host.parked(this);
  }

  forgetAfter(time: number): void {
    this.#cancelTimer = this.#host.clock.after(time, () => this.forget());
  }

  forget(): void {
    if (this.#listeners.any) return;
    this.#cancelTimer();
    this.#host.forgotten(this);
  }

  /** Drops all timers, for good. */
  close(): void {
    this.park();
    this.#cancelTimer();
  }

  flush(): void {
    this.#tell();
  }

  get #range(): Range {
    const { floor = null, head = null, position = null } = this.#subscription ?? {};
    const seq = parsePosition(this.#position ?? '')?.seq ?? 0;
    return { floor: floor ?? 0, head: head ?? seq, position: position ?? this.#position };
  }

  #attach(): void {
    if (this.#host.closed()) return;
    this.#cancelTimer();
    this.#tick();
    if (this.#phase !== 'beginning' && this.#phase !== 'following') this.#open();
  }

  #detach(): void {
    if (this.#host.closed()) return;
    this.#tick();
    if (this.#phase === 'failed') this.forgetAfter(this.#host.forget);
    else this.#cancelTimer = this.#host.clock.after(this.#host.leave, () => this.park());
  }

  #stop(): void {
    this.#attempt?.abort();
    this.#attempt = null;
    this.#leaveLive();
    const subscription = this.#subscription;
    this.#position = subscription?.position ?? this.#position;
    this.#subscription = null;
    subscription?.close();
  }

  #open(): void {
    const attempt = new AbortController();
    this.#host.opened(this);
    this.#attempt = attempt;
    this.#error = null;
    this.#phase = 'beginning';
    if (this.#position !== null) return this.#follow(attempt, this.#position);
    this.#whole = false;
    this.#read = 0;
    this.#total = null;
    const since = this.#reader.begin(attempt.signal);
    if (typeof since === 'string') return this.#follow(attempt, since);
    since.then(
      (since) => {
        if (!attempt.signal.aborted) this.#follow(attempt, since);
      },
      (reason: unknown) => {
        if (!attempt.signal.aborted) this.#refused(reason);
      },
    );
  }

  #refused(reason: unknown): void {
    const error = errorOf(reason);
    if (!error.retries) return this.#fail(error);
    this.#error = error;
    this.#again();
    this.#tell();
  }

  /** Begins anew after a delay, which grows until it has caught up once. */
  #again(): void {
    const attempt = new AbortController();
    const cancel = this.#host.clock.after(this.#backoff.next(), () => this.#open());
    attempt.signal.addEventListener('abort', cancel);
    this.#attempt = attempt;
  }

  #follow(attempt: AbortController, since: Since): void {
    this.#phase = 'following';
    try {
      this.#subscription = this.#host.subscribe(this.channel, { since, ...this.#listening(attempt.signal) });
    } catch (reason) {
      this.#refused(reason);
    }
  }

  #listening(signal: AbortSignal): SubscribeOptions {
    return {
      onEvent: (event) => {
        if (signal.aborted) return;
        this.#reader.event(event);
        this.#read += 1;
        this.#change();
      },
      onReset: (reset) => {
        if (!signal.aborted) this.#onReset(reset);
      },
      onState: (state, error) => {
        if (signal.aborted) return;
        if (state === 'closed') return this.#fail(error ?? new RowcastError('unavailable'));
        this.#error = error ?? null;
        const { head, position } = this.#subscription ?? {};
        if (state === 'replaying' && this.#read === 0 && typeof head === 'number')
          this.#total = Math.max(0, head - (parsePosition(position ?? '')?.seq ?? head));
        if (state === 'live' && error === undefined) this.#enterLive();
        else this.#leaveLive();
        this.#tell();
      },
    };
  }

  #onReset(reset: Reset): void {
    if (!this.#reader.reset(reset)) return this.#change();
    this.#stop();
    this.#position = null;
    this.#whole = false; // until it has caught up the old value is shown, not a part of the new one
    this.#phase = 'beginning';
    this.#again();
    this.#tell();
  }

  #enterLive(): void {
    this.#current = true;
    this.#backoff.reset();
    if (!this.#whole) this.#changed = true;
    this.#whole = true;
  }

  #leaveLive(): void {
    if (this.#current) this.#asOf = this.#host.heardAt() ?? this.#host.clock.now();
    this.#current = false;
  }

  #fail(error: RowcastError): void {
    this.#stop();
    this.#phase = 'failed';
    this.#error = error;
    this.#tell();
  }

  #change(): void {
    this.#changed = true;
    this.#host.flusher.request(this);
  }

  #tell(): void {
    const live = this.#compute();
    this.#tick();
    if (isShallowEqual(live, this.#live)) return;
    this.#live = live;
    this.#listeners.tell();
  }

  #compute(): Live<T> {
    if (this.#whole && this.#changed) {
      this.#changed = false;
      this.#value = this.#reader.value(this.#host.clock.now(), this.#range);
    }
    const error = this.#error;
    const data = this.#value;
    if (this.#phase === 'failed' && error !== null) return { status: 'failed', data, error };
    if (data === undefined) {
      return { status: 'loading', data: undefined, error, read: this.#read, total: this.#total };
    }
    if (this.#whole && this.#reader.ended?.()) return { status: 'ended', data, error: null };
    if (this.#current) return { status: 'live', data, error: null };
    return { status: 'stale', data, error, asOf: this.#asOf };
  }

  /** Where the value changes with time it is made anew each second, while it is live and something looks at it. */
  #tick(): void {
    const ticks = this.#listeners.any && this.#current && this.#reader.ticks?.() === true;
    if (ticks) this.#stopTicking ??= this.#host.seconds.subscribe(() => this.#change());
    else {
      this.#stopTicking?.();
      this.#stopTicking = null;
    }
  }
}
