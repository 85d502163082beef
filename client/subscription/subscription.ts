import type { Backoff } from '../ground/backoff.js';
import type { Clock } from '../ground/clock.js';
import { RowcastError } from '../ground/error.js';
import { call } from '../ground/notify.js';
import { EventQueue } from '../ground/queue.js';
import {
  askedPosition,
  type Frame,
  formatPosition,
  outcomeOf,
  type Position,
  parsePosition,
  type Reply,
  type ResetReason,
  type Row,
  type Since,
} from '../protocol/index.js';
import type { Request } from '../session/connection.js';
import { Sequencer } from './sequencer.js';

/** One row of a stream, as it reaches the application. */
export interface StreamEvent {
  readonly channel: string;
  readonly seq: number;
  /** Where a reader stands that has this event: hand it to `since` to go on after it. */
  readonly position: string;
  /** The row's `event_type`, where the stream has such a column. */
  readonly type: string | undefined;
  readonly row: Row;
}

/** Positions before `position` cannot be served: fetch a snapshot of what you show; events go on after it. */
export interface Reset {
  readonly reason: ResetReason;
  readonly position: string;
}

/** `waiting`: no connection. `replaying`: older events arrive. `live`: caught up. `closed`: nothing more comes. */
export type SubscriptionState = 'waiting' | 'subscribing' | 'replaying' | 'live' | 'closed';

export interface SubscribeOptions {
  /** `start`, `now` (the default, also for null), a seq, or the `position` of the last event you have. */
  readonly since?: Since | number | null | undefined;
  readonly onEvent?: (event: StreamEvent) => void;
  readonly onReset?: (reset: Reset) => void;
  readonly onState?: (state: SubscriptionState, error?: RowcastError) => void;
}

/** The connection, as a subscription sees it. */
export interface Wire {
  readonly connected: boolean;
  readonly clock: Clock;
  backoff(): Backoff;
  request(command: Request, onReply?: (reply: Reply) => void): void;
  /** The subscription is closed: forget it. */
  forget(subscription: Subscription): void;
}

/** A reader of one channel. It keeps its position through every lost connection and asks on from there. */
export class Subscription implements AsyncIterable<StreamEvent> {
  readonly channel: string;
  readonly #wire: Wire;
  readonly #options: SubscribeOptions;
  /** Where to begin. */
  readonly #since: Since;
  readonly #sequencer = new Sequencer();
  readonly #backoff: Backoff;
  readonly #listeners = new Map<string, Set<(event: StreamEvent) => void>>();
  #queue: EventQueue<StreamEvent> | null = null;
  #state: SubscriptionState = 'waiting';
  /** Somebody loops over the events. Until then, and until they are listened to, they wait for a loop. */
  #iterated = false;
  /** Only `on` was used, and events came that a loop would now miss. */
  #passedOver = false;
  #error: RowcastError | undefined;
  #paused = false;
  #head = 0;
  #request = 0;
  #cancelRetry: () => void = () => {};

  constructor(wire: Wire, channel: string, options: SubscribeOptions) {
    this.channel = channel;
    this.#wire = wire;
    this.#options = options;
    this.#backoff = wire.backoff();
    this.#since = String(options.since ?? 'now');
    const position = parsePosition(this.#since);
    if (position !== null) this.#sequencer.moveTo(position);
    if (options.onEvent === undefined) this.#queue = this.#makeQueue();
    this.onConnection(wire.connected);
  }

  get state(): SubscriptionState {
    return this.#state;
  }

  /** The position of the last event that was delivered; null before the first `subscribed`. */
  get position(): string | null {
    return this.#sequencer.position && formatPosition(this.#sequencer.position);
  }

  /** Calls `listener` for each event of one type (the row's `event_type`). Returns the way to stop that. */
  on(type: string, listener: (event: StreamEvent) => void): () => void {
    if (!this.#iterated) this.#stopQueueing();
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** The events in order. Leaving the loop closes the subscription. A loop that is slow holds the stream back. */
  [Symbol.asyncIterator](): AsyncIterator<StreamEvent> {
    if (this.#passedOver) throw new Error('events were passed over already: begin the loop right after subscribe');
    this.#iterated = true;
    this.#queue ??= this.#makeQueue();
    if (this.#state === 'closed') this.#queue.end(this.#error);
    return this.#queue;
  }

  close(): void {
    if (this.#state !== 'closed' && this.#state !== 'waiting') this.#leave();
    this.#close();
  }

  /** The connection came or went. */
  onConnection(connected: boolean): void {
    if (this.#state === 'closed') return;
    this.#request += 1;
    this.#cancelRetry();
    if (connected && !this.#paused) return this.#subscribe();
    if (this.#state !== 'waiting') this.#enter('waiting');
  }

  /** The session gave up: so does every subscription. */
  fail(error: RowcastError): void {
    this.#close(error);
  }

  onFrame(frame: Frame): void {
    // Until `subscribed` comes, what arrives belongs to a subscription that was left.
    if (!this.#reading) return;
    switch (frame.type) {
      case 'events':
        return this.#receive(frame.from, frame.events);
      case 'reset': {
        const position = parsePosition(frame.position);
        if (position === null) return;
        this.#sequencer.moveTo(position);
        // But for what was pruned, the position is the head, of another numbering perhaps.
        if (frame.reason !== 'pruned') this.#head = position.seq;
        call(this.#options.onReset, { reason: frame.reason, position: frame.position });
        return this.#caughtUp();
      }
      case 'unsubscribed':
        return this.#refused(frame.code);
    }
  }

  #stopQueueing(): void {
    this.#queue = null;
    if (!this.#paused) return;
    this.#paused = false;
    this.onConnection(this.#wire.connected);
  }

  #makeQueue(): EventQueue<StreamEvent> {
    return new EventQueue({
      onFull: () => {
        this.#paused = true;
        if (this.#state !== 'waiting' && this.#state !== 'closed') this.#leave();
        this.onConnection(false);
      },
      onDrained: () => {
        this.#paused = false;
        this.onConnection(this.#wire.connected);
      },
      onReturn: () => this.close(),
    });
  }

  #enter(state: SubscriptionState, error?: RowcastError): void {
    this.#state = state;
    call(this.#options.onState, state, error);
  }

  #leave(): void {
    this.#wire.request({ type: 'unsubscribe', channel: this.channel });
  }

  #close(error?: RowcastError): void {
    if (this.#state === 'closed') return;
    this.#request += 1;
    this.#cancelRetry();
    this.#wire.forget(this);
    this.#error = error;
    this.#enter('closed', error);
    this.#queue?.end(error);
  }

  #subscribe(): void {
    this.#request += 1;
    const request = this.#request;
    this.#enter('subscribing');
    if (request !== this.#request) return; // the listener closed the subscription
    const since = this.position ?? this.#since;
    this.#wire.request({ type: 'subscribe', channel: this.channel, since }, (reply) => {
      if (request !== this.#request) return;
      if (reply.type === 'subscribed') this.#subscribed(reply);
      else if (reply.type === 'error') this.#refused(reply.code, reply.message);
    });
  }

  #subscribed(reply: Extract<Reply, { type: 'subscribed' }>): void {
    const asked = this.#sequencer.position ?? askedPosition(this.#since, reply);
    if (asked !== null) this.#sequencer.moveTo(asked);
    this.#head = reply.head;
    this.#backoff.reset();
    this.#enter('replaying');
    this.#caughtUp();
  }

  #caughtUp(): void {
    if (this.#state === 'replaying' && (this.#sequencer.position?.seq ?? 0) >= this.#head) this.#enter('live');
  }

  get #reading(): boolean {
    return this.#state === 'replaying' || this.#state === 'live';
  }

  #receive(from: number, rows: readonly Row[]): void {
    const verdict = this.#sequencer.judge(from, rows);
    if (verdict.kind === 'gap') {
      this.#leave();
      return this.#subscribe();
    }
    if (verdict.kind === 'duplicate') return;
    for (const row of verdict.rows) {
      if (!this.#reading) return; // a listener closed or filled the subscription; the rest is asked for again
      this.#deliver(row, this.#sequencer.advance());
    }
    this.#caughtUp();
  }

  #deliver(row: Row, { epoch, seq }: Position): void {
    const type = typeof row.event_type === 'string' ? row.event_type : undefined;
    const event = { channel: this.channel, seq, position: formatPosition({ epoch, seq }), type, row };
    const listeners = type === undefined ? undefined : this.#listeners.get(type);
    for (const listener of [this.#options.onEvent, ...(listeners ?? [])]) call(listener, event);
    if (this.#queue !== null) this.#queue.push(event);
    else this.#passedOver ||= this.#options.onEvent === undefined;
  }

  #refused(code: string, message?: string): void {
    const error = new RowcastError(code, message);
    if (outcomeOf(code).outcome === 'stop') {
      // No state is listened to, and no loop will throw it: else it would end without a word.
      if (this.#options.onState === undefined && this.#queue === null) console.warn(`rowcast: ${this.channel}:`, error);
      return this.#close(error);
    }
    this.#request += 1;
    this.#enter('waiting', error);
    if (this.#state !== 'waiting') return;
    this.#cancelRetry = this.#wire.clock.after(this.#backoff.next(), () => this.onConnection(this.#wire.connected));
  }
}
