/**
 * A subscription as the application sees it, and the reader of the shared channel behind it. It keeps its position
 * through every lost connection, and goes on from there:
 *
 *                 connected             `subscribed`               all events up to the head
 *    waiting ───────────────► subscribing ───────────► replaying ───────────────► live
 *       ▲                          │                       │                       │
 *       └──────────────────────────┴───────────────────────┴───────────────────────┘
 *         connection lost, refused for now, or the queue of a slow loop is full
 *
 * `closed` follows from each state: by `close`, by its `signal`, or by an error after which it cannot go on.
 */
import { RowcastError } from '../ground/error.js';
import { notify } from '../ground/notify.js';
import { checkNames } from '../ground/options.js';
import type { AbortSignalLike } from '../ground/platform.js';
import { EventQueue } from '../ground/queue.js';
import {
  type EventTimes,
  formatPosition,
  leavesOut,
  outcomeOf,
  type Position,
  parsePosition,
  type ResetReason,
  type Row,
  type Since,
} from '../protocol/index.js';
import { Sequencer } from './sequencer.js';
import type { ChannelReader, EventsFrame, Numbering } from './shared-channel.js';
import type { SharedChannels } from './shared-channels.js';

/** One row of a stream. `R` is what the application knows of its columns; nothing checks it. */
export interface StreamEvent<R extends object = Row> {
  readonly channel: string;
  readonly seq: number;
  /** The position after this event: pass it as `since` to go on from here. */
  readonly position: string;
  /** The row's `event_type`; undefined if the stream has no such column. */
  readonly type: string | undefined;
  readonly row: R;
  /** When it was written, read and sent. Only with the option `times`, and only of the first of the new events that arrive together. */
  readonly times?: EventTimes;
}

export function eventOf<R extends object>(
  channel: string,
  position: Position,
  row: Row,
  times?: EventTimes,
): StreamEvent<R> {
  const type = typeof row.event_type === 'string' ? row.event_type : undefined;
  const at = { channel, seq: position.seq, position: formatPosition(position) };
  return { ...at, type, row: row as R, ...(times && { times }) };
}

/**
 * Events up to `position` cannot be served. Fetch a snapshot of what you show; events go on after `position`. With
 * `too_large` and `unreadable` it is one event alone, that of the position.
 */
export interface Reset {
  readonly reason: ResetReason;
  readonly position: string;
  /** For people: which event is left out, and why. Only where it is one event alone. */
  readonly message?: string;
}

/**
 * `waiting`: not connected, or refused for now. `subscribing`: the gateway has been asked. `replaying`: older events
 * arrive. `live`: all events have arrived. `closed`: no more events come.
 */
export type SubscriptionState = 'waiting' | 'subscribing' | 'replaying' | 'live' | 'closed';

export interface SubscribeOptions<R extends object = Row> {
  /** Where to begin: `now` (the default), `start`, -100 for the newest 100, a seq, or the `position` of the last event that you have. */
  readonly since?: Since | number | null | undefined;
  readonly onEvent?: ((event: StreamEvent<R>) => void) | undefined;
  /** Called with the events that have arrived together, at least one, after `onEvent` was called with each. */
  readonly onEvents?: ((events: readonly StreamEvent<R>[]) => void) | undefined;
  readonly onReset?: ((reset: Reset) => void) | undefined;
  /** An error with a state in which events arrive: the stream cannot be read at present. The same state without one: it can again. */
  readonly onState?: ((state: SubscriptionState, error?: RowcastError) => void) | undefined;
  /** Closes the subscription when it is aborted. */
  readonly signal?: AbortSignalLike | undefined;
}

const OPTIONS = ['since', 'onEvent', 'onEvents', 'onReset', 'onState', 'signal'] satisfies (keyof SubscribeOptions)[];

/** A subscription to one channel. A client may have several to the same channel; each has its own position. */
export interface Subscription<R extends object = Row> extends AsyncIterable<StreamEvent<R>> {
  readonly channel: string;
  readonly state: SubscriptionState;
  /** The position of the last event that was delivered; null before the first `subscribed` unless `since` was a position. */
  readonly position: string | null;
  /** The oldest seq that can be read, and the newest that is known of; null before the first `subscribed`. */
  readonly floor: number | null;
  readonly head: number | null;
  /** Calls `listener` for each event of one type (the row's `event_type`). The returned function ends that. */
  on(type: string, listener: (event: StreamEvent<R>) => void): () => void;
  /** The events in order. Leaving the loop closes the subscription. A slow loop holds back this subscription only. */
  [Symbol.asyncIterator](): AsyncIterator<StreamEvent<R>>;
  /** Ends the subscription. Closing it twice has no effect. */
  close(): void;
}

/** A subscription as its client holds it, whatever its rows are. */
export type OpenSubscription = Pick<ChannelSubscription, 'close' | 'fail'>;

export class ChannelSubscription<R extends object = Row> implements Subscription<R>, ChannelReader {
  readonly channel: string;
  readonly takesEvents = true;
  readonly #channels: SharedChannels;
  readonly #open: Set<OpenSubscription>;
  readonly #onEvent: SubscribeOptions<R>['onEvent'];
  readonly #onEvents: SubscribeOptions<R>['onEvents'];
  readonly #onReset: SubscribeOptions['onReset'];
  readonly #onState: SubscribeOptions['onState'];
  readonly #signal: SubscribeOptions['signal'];
  /** Where it begins, as the application said. */
  readonly #since: Since;
  readonly #sequencer = new Sequencer();
  readonly #listeners = new Map<string, Set<(event: StreamEvent<R>) => void>>();
  /** Holds the events for a loop; null where they are delivered to listeners only. */
  #queue: EventQueue<StreamEvent<R>> | null = null;
  #state: SubscriptionState = 'waiting';
  #floor: number | null = null;
  #head: number | null = null;
  #error: RowcastError | undefined;
  #looping = false;
  /** Events were delivered to `on` alone, so a loop that began now would miss them. */
  #missed = false;

  /** Joins the channel at once. It is one of `open` until it is closed. */
  constructor(channel: string, options: SubscribeOptions<R>, channels: SharedChannels, open: Set<OpenSubscription>) {
    checkNames('subscribe', options, OPTIONS);
    const { since, onEvents, onEvent = onEvents && (() => {}), onReset, onState, signal } = options;
    this.channel = channel;
    this.#channels = channels;
    this.#open = open.add(this);
    this.#onEvent = onEvent;
    this.#onEvents = onEvents;
    this.#onReset = onReset;
    this.#onState = onState;
    this.#signal = signal;
    this.#since = String(since ?? 'now');
    const position = parsePosition(this.#since);
    if (position !== null) this.#sequencer.moveTo(position);
    if (onEvent === undefined) this.#queue = this.#makeQueue();
    if (signal?.aborted) this.close();
    else {
      signal?.addEventListener('abort', this.#onAbort);
      channels.join(channel, this);
    }
  }

  get state(): SubscriptionState {
    return this.#state;
  }

  get position(): string | null {
    return this.#sequencer.position && formatPosition(this.#sequencer.position);
  }

  get floor(): number | null {
    return this.#floor;
  }

  get head(): number | null {
    return this.#head;
  }

  get since(): Since {
    return this.position ?? this.#since;
  }

  get place(): Position | null {
    return this.#state === 'replaying' || this.#state === 'live' ? this.#sequencer.position : null;
  }

  on(type: string, listener: (event: StreamEvent<R>) => void): () => void {
    if (!this.#looping) this.#stopQueueing();
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  [Symbol.asyncIterator](): AsyncIterator<StreamEvent<R>> {
    if (this.#missed) throw new Error('events were delivered already: begin the loop earlier');
    this.#looping = true;
    this.#queue ??= this.#makeQueue();
    if (this.#state === 'closed') this.#queue.end(this.#error);
    return this.#queue;
  }

  close(): void {
    this.fail(undefined);
  }

  /** Closes the subscription, with an error if it cannot go on. */
  fail(error: RowcastError | undefined): void {
    if (this.#state === 'closed') return;
    this.#error = error;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#state = 'closed'; // first, because leaving the channel may call listeners of other subscriptions
    this.#channels.leave(this.channel, this);
    this.#open.delete(this);
    this.#enter('closed', error);
    this.#queue?.end(error);
  }

  onAsked(): void {
    if (this.#state === 'waiting') this.#enter('subscribing');
  }

  onSubscribed(place: Position, { floor, head }: Numbering): void {
    if (this.#state !== 'subscribing') return; // a listener has closed it
    this.#sequencer.moveTo(place);
    this.#floor = floor;
    this.#head = head;
    this.#enter('replaying');
    this.#caughtUp();
  }

  onEvents({ from, events, times }: EventsFrame): void {
    const verdict = this.#sequencer.judge(from, events);
    if (verdict.kind !== 'deliver') return; // a duplicate: where there is a gap the channel asks again
    const batch: StreamEvent<R>[] = [];
    for (const row of verdict.rows) {
      if (this.place === null) break; // a listener closed it, or the queue is full: the rest is requested again
      const position = this.#sequencer.advance();
      batch.push(this.#deliver(row, position, position.seq === from ? times : undefined));
    }
    if (batch.length > 0 && this.#state !== 'closed') notify(this.#onEvents, batch);
    this.#head = Math.max(this.#head ?? 0, from + events.length - 1);
    this.#caughtUp();
  }

  onReset(reason: ResetReason, position: Position, message?: string): void {
    // Without a listener the application would miss the event and not learn of it.
    if (leavesOut(reason) && this.#onReset === undefined) {
      this.onRefused(`event_${reason}`, message ?? '');
      return;
    }
    this.#sequencer.moveTo(position);
    // After a reset the position is the head, unless older events were pruned or one was left out.
    const within = reason === 'pruned' || leavesOut(reason);
    this.#head = within ? Math.max(this.#head ?? 0, position.seq) : position.seq;
    if (reason === 'pruned') this.#floor = position.seq + 1;
    if (reason === 'epoch') this.#floor = 1;
    notify(this.#onReset, { reason, position: formatPosition(position), ...(message !== undefined && { message }) });
    this.#caughtUp();
  }

  onStalled(code: string | null): void {
    if (this.#state === 'closed') return;
    if (code === null) notify(this.#onState, this.#state);
    else notify(this.#onState, this.#state, new RowcastError(code));
  }

  onRefused(code: string, message: string): boolean {
    const error = new RowcastError(code, message || undefined);
    if (outcomeOf(code).outcome === 'retry') {
      this.#enter('waiting', error);
      return this.#state === 'waiting';
    }
    // Without a listener of the state, and without a loop that would throw the error, the application would not learn of it.
    if (this.#onState === undefined && this.#queue === null) console.warn(`rowcast: ${this.channel}:`, error);
    this.fail(error);
    return false;
  }

  onLost(): boolean {
    if (this.#state !== 'waiting') this.#enter('waiting');
    return true;
  }

  readonly #onAbort = (): void => this.close();

  #enter(state: SubscriptionState, error?: RowcastError): void {
    this.#state = state;
    notify(this.#onState, state, error);
  }

  #makeQueue(): EventQueue<StreamEvent<R>> {
    return new EventQueue({
      onFull: () => {
        this.#channels.leave(this.channel, this);
        if (this.#state !== 'closed') this.#enter('waiting');
      },
      onDrained: () => {
        if (this.#state === 'waiting') this.#channels.join(this.channel, this);
      },
      onReturn: () => this.close(),
    });
  }

  /** With `on` alone nothing waits for a loop. */
  #stopQueueing(): void {
    this.#missed ||= this.#queue?.used === true;
    this.#queue = null;
    if (this.#state === 'waiting') this.#channels.join(this.channel, this); // the queue may have been full
  }

  #caughtUp(): void {
    if (this.#state === 'replaying' && (this.#sequencer.position?.seq ?? 0) >= (this.#head ?? 0)) this.#enter('live');
  }

  #deliver(row: Row, position: Position, times: EventTimes | undefined): StreamEvent<R> {
    const event = eventOf<R>(this.channel, position, row, times);
    const listeners = event.type === undefined ? undefined : this.#listeners.get(event.type);
    for (const listener of [this.#onEvent, ...(listeners ?? [])]) {
      if (this.#state === 'closed') return event; // by the listener before
      notify(listener, event);
    }
    if (this.#queue !== null) this.#queue.push(event);
    else this.#missed ||= this.#onEvent === undefined;
    return event;
  }
}
