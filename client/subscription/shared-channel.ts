/**
 * One channel of a connection, read by any number of readers over one subscription, the *wire subscription*. It stands
 * at the lowest place that a reader needs; readers that are further ahead drop what they have. Whenever it does not
 * stand there, it is asked for anew from that place: a reader that begins earlier, one that stops and goes on, one that
 * leaves, and a new connection are the same case. Otherwise no `subscribe` is sent.
 *
 * It keeps no events: what a reader lacks is requested from the gateway again. To each reader the guarantees hold as if
 * it had a subscription of its own (I1 to I4).
 */
import type { Backoff } from '../ground/backoff.js';
import type { Clock } from '../ground/clock.js';
import {
  askedPosition,
  type Frame,
  outcomeOf,
  type Position,
  parsePosition,
  type Reply,
  type ResetReason,
  type Since,
  startAt,
} from '../protocol/index.js';
import type { Connection } from '../session/connection.js';
import { Sequencer } from './sequencer.js';

export type EventsFrame = Extract<Frame, { type: 'events' }>;

/** What the gateway says of a channel in its `subscribed` reply. Events `floor` to `head` can be read. */
export interface Numbering {
  readonly epoch: string;
  readonly head: number;
  readonly floor: number;
}

/** One reader of a channel: a subscription of this client, or one of another tab. */
export interface ChannelReader {
  /** Where it begins, as it was asked for; once it has a position, that position. */
  readonly since: Since;
  /** The position up to which it has read; null until `onSubscribed`, and after `onLost` and `onRefused`. */
  readonly place: Position | null;
  /** Whether it takes events now. If not, it does not hold the wire subscription back. */
  readonly takesEvents: boolean;
  /** The gateway is being asked where it begins. */
  onAsked(): void;
  onSubscribed(place: Position, numbering: Numbering): void;
  /** The frame begins at or before the next event of the reader, which drops what it has. */
  onEvents(frame: EventsFrame): void;
  /** `message`: for people, where a single event is left out. */
  onReset(reason: ResetReason, position: Position, message?: string): void;
  /** The stream cannot be read at present, and the error code of that; null: it can again. */
  onStalled(code: string | null): void;
  /** The gateway refused or ended the subscription. Returns whether the reader stays, to be asked for again later. */
  onRefused(code: string, message: string): boolean;
  /** The connection is lost. Returns whether the reader stays, to be asked for on the next connection. */
  onLost(): boolean;
}

export interface SharedChannelOptions {
  readonly name: string;
  readonly connection: Pick<Connection, 'state' | 'request'>;
  readonly clock: Clock;
  readonly backoff: Backoff;
  /** The last reader has left. */
  readonly onEmpty: () => void;
}

/** A `subscribe` of the given place that has no reply yet. */
interface Pending {
  readonly reader: ChannelReader;
  readonly since: Since;
}

export class SharedChannel {
  readonly #name: string;
  readonly #connection: SharedChannelOptions['connection'];
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #onEmpty: () => void;
  readonly #readers = new Set<ChannelReader>();
  /** As the gateway last said on this connection; null before that. */
  #numbering: Numbering | null = null;
  /** Where the wire subscription stands; null while there is none. */
  #wire: Sequencer | null = null;
  #pending: Pending | null = null;
  /** Why the stream cannot be read, as its readers were told; null while it can be. */
  #stalled: string | null = null;
  /** Set while the gateway has refused for now, until the next attempt. */
  #cancelRetry: (() => void) | null = null;
  #acting = false;
  #changed = false;

  constructor({ name, connection, clock, backoff, onEmpty }: SharedChannelOptions) {
    this.#name = name;
    this.#connection = connection;
    this.#clock = clock;
    this.#backoff = backoff;
    this.#onEmpty = onEmpty;
  }

  /** The reader is told nothing but `onAsked` before this has returned. */
  join(reader: ChannelReader): void {
    this.#readers.add(reader);
    if (this.#numbering === null) this.resume();
    else queueMicrotask(() => this.resume()); // its place may be known already
  }

  leave(reader: ChannelReader): void {
    this.#act(() => {
      if (this.#readers.delete(reader) && this.#readers.size === 0) this.#endDelay();
    });
  }

  /** Readers have come, or take events again. */
  resume(): void {
    this.#act(() => {});
  }

  /** The connection is another one, or lost: nothing is subscribed. The readers are told nothing yet. */
  forget(): void {
    this.#numbering = null;
    this.#wire = null;
    this.#pending = null;
    this.#endDelay();
  }

  onLost(): void {
    this.#act(() => {
      for (const reader of this.#readers) if (!reader.onLost()) this.#readers.delete(reader);
    });
  }

  onFrame(frame: Frame): void {
    if (this.#wire === null) return; // of a subscription that was left
    this.#act(() => {
      if (frame.type === 'stalled') this.#stall(frame.code);
      // Where a connection is made of requests, `resumed` may fall between two of them: events say it as well.
      if (frame.type === 'resumed' || (frame.type === 'events' && this.#stalled !== null)) this.#stall(null);
      if (frame.type === 'events') this.#receive(frame);
      if (frame.type === 'unsubscribed') this.#refuse([...this.#readers], frame.code, '');
      const position = frame.type === 'reset' ? parsePosition(frame.position) : null;
      if (frame.type === 'reset' && position !== null) this.#reset(frame.reason, position, frame.message);
    });
  }

  /** Runs a task that may call listeners of the application. What these change takes effect once, after the task. */
  #act(task: () => void): void {
    if (this.#acting) {
      task();
      this.#changed = true;
      return;
    }
    this.#acting = true;
    task();
    do {
      this.#changed = false;
      this.#steer();
    } while (this.#changed);
    this.#acting = false;
    if (this.#readers.size === 0) this.#onEmpty();
  }

  /** Tells the readers that can be told where they begin, and moves the wire subscription to where it should be. */
  #steer(): void {
    if (this.#connection.state !== 'connected' || this.#cancelRetry !== null) return;
    for (const reader of this.#readers) if (reader.place === null) reader.onAsked();
    if (this.#pending !== null && this.#readers.size > 0) return;
    const unjudged: ChannelReader[] = [];
    for (const reader of this.#readers) {
      const place = this.#judged(reader);
      if (place === null) unjudged.push(reader);
      else if (reader.place === null && this.#numbering !== null) {
        reader.onSubscribed(place, this.#numbering);
        if (this.#stalled !== null && reader.place !== null) reader.onStalled(this.#stalled);
      }
    }
    const reader = lowest(unjudged) ?? lowest([...this.#readers].filter(({ takesEvents }) => takesEvents));
    if (reader === undefined) this.#unsubscribe();
    else if (unjudged.includes(reader) || reader.place?.seq !== this.#wire?.position?.seq) this.#subscribe(reader);
  }

  /**
   * Where a reader is, if that is known to be a place of this numbering; else null: then only the gateway can say what
   * it means. It may be beyond the head that is known here, of another epoch, or `start` while the floor has risen.
   */
  #judged({ place, since }: ChannelReader): Position | null {
    const numbering = this.#numbering;
    if (numbering === null) return null;
    // Without a wire subscription the head and the floor are as old as the last one.
    if (place === null && this.#wire === null) return null;
    if (place === null && since === 'start' && this.#wire?.position?.seq !== numbering.floor - 1) return null;
    const asked = place ?? askedPosition(since, numbering);
    return asked === null || startAt(asked, numbering).reset !== null ? null : asked;
  }

  #subscribe(reader: ChannelReader): void {
    const pending = { reader, since: reader.since };
    this.#unsubscribe();
    this.#pending = pending;
    this.#connection.request({ type: 'subscribe', channel: this.#name, since: pending.since }, (reply) => {
      if (this.#pending === pending) this.#act(() => this.#answered(pending, reply));
    });
  }

  #unsubscribe(): void {
    const subscribed = this.#wire !== null || this.#pending !== null;
    this.#wire = null;
    this.#pending = null;
    if (subscribed) this.#connection.request({ type: 'unsubscribe', channel: this.#name });
  }

  #answered({ reader, since }: Pending, reply: Reply): void {
    this.#pending = null;
    if (reply.type === 'subscribed') this.#subscribed(since, reply);
    else if (reply.type === 'error') {
      // A wrong `since` concerns its reader alone, any other refusal the channel.
      const concerned = reply.code === 'invalid_frame' ? [reader] : [...this.#readers];
      this.#refuse(concerned, reply.code, reply.message);
    }
  }

  /**
   * The reply is fresh, so it also answers the other readers whose places it settles: those that can be served, and
   * those of which the gateway has just said the same as of the place that was asked for.
   */
  #subscribed(since: Since, { epoch, head, floor }: Numbering): void {
    const numbering = { epoch, head, floor };
    const asked = askedPosition(since, numbering) ?? { epoch, seq: head };
    const { after, reset } = startAt(asked, numbering);
    this.#numbering = numbering;
    this.#wire = new Sequencer();
    this.#wire.moveTo({ epoch, seq: after });
    this.#backoff.reset();
    if (this.#stalled !== null) this.#stall(null); // said of the last wire subscription; of this one it is said anew
    for (const reader of this.#readers) {
      const place = reader.place === null ? askedPosition(reader.since, numbering) : null;
      if (place === null) continue;
      const verdict = startAt(place, numbering).reset;
      if (verdict === null || (verdict === reset && place.epoch === asked.epoch)) reader.onSubscribed(place, numbering);
    }
    // The gateway sends this reset as well. By then the wire subscription may stand elsewhere, and the frame be ignored.
    if (reset !== null) this.#reset(reset, { epoch, seq: after });
  }

  #refuse(readers: readonly ChannelReader[], code: string, message: string): void {
    this.forget();
    for (const reader of readers) {
      if (this.#readers.has(reader) && !reader.onRefused(code, message)) this.#readers.delete(reader);
    }
    if (this.#readers.size === 0 || outcomeOf(code).outcome === 'stop') return;
    this.#cancelRetry = this.#clock.after(this.#backoff.next(), () => this.#act(() => this.#endDelay()));
  }

  #endDelay(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = null;
  }

  #receive(frame: EventsFrame): void {
    const { from, events } = frame;
    const verdict = this.#wire?.judge(from, events).kind;
    if (verdict === 'gap') return this.#unsubscribe(); // it is subscribed again where events are needed
    if (verdict !== 'deliver' || this.#numbering === null) return;
    const to = from + events.length - 1;
    this.#wire?.moveTo({ epoch: this.#numbering.epoch, seq: to });
    this.#numbering = { ...this.#numbering, head: Math.max(this.#numbering.head, to) };
    for (const reader of this.#readers) if (reader.place !== null && reader.takesEvents) reader.onEvents(frame);
  }

  #stall(code: string | null): void {
    this.#stalled = code;
    for (const reader of this.#readers) if (reader.place !== null) reader.onStalled(code);
  }

  /** Passes a reset of the wire subscription to all readers whose places it concerns (I2). */
  #reset(reason: ResetReason, position: Position, message?: string): void {
    const { epoch, seq } = position;
    const { floor = 1, head = seq } = this.#numbering ?? {};
    this.#wire?.moveTo(position);
    this.#numbering = {
      epoch,
      floor: reason === 'pruned' ? Math.max(floor, seq + 1) : reason === 'epoch' ? 1 : floor,
      head: reason === 'epoch' || reason === 'ahead' ? seq : Math.max(head, seq),
    };
    for (const reader of this.#readers) {
      if (reader.place === null) continue;
      const { epoch: known, seq: has } = reader.place;
      // One that is further behind needs events before it: the wire subscription is moved to its place.
      const single = known === epoch && has === seq - 1;
      const concerned: Readonly<Record<string, boolean>> = {
        epoch: known !== epoch,
        pruned: has < seq,
        ahead: has > seq,
        too_large: single,
        unreadable: single,
      };
      // A reason that this version does not know moves every reader that is behind, or the same reset would come again.
      const moves = concerned[reason] ?? has < seq;
      if (moves && (reason === 'epoch' || known === epoch)) reader.onReset(reason, position, message);
    }
  }
}

/** The reader that needs the earliest events, as far as their places can be compared. */
function lowest(readers: readonly ChannelReader[]): ChannelReader | undefined {
  const seq = ({ place, since }: ChannelReader) => {
    if (place !== null || since === 'start') return place?.seq ?? -1;
    return (parsePosition(since) ?? parsePosition(`e.${since}`))?.seq ?? Number.POSITIVE_INFINITY;
  };
  return [...readers].sort((one, other) => seq(one) - seq(other))[0];
}
