import {
  askedPosition,
  type Frame,
  type Position,
  parsePosition,
  type Reply,
  type ResetReason,
  startAt,
} from '../protocol/index.js';
import type { Request } from '../session/connection.js';
import type { Cursor } from './cursor.js';

/** The leading tab's connection to the gateway, as its channels see it. */
export interface Wire {
  readonly connected: boolean;
  request(command: Request, onReply?: (reply: Reply) => void): void;
}

type Numbering = { epoch: string; head: number; floor: number };

/**
 * A channel that tabs follow: at most one subscription on the wire, and a cursor for each tab. The wire stands where
 * the lowest cursor that reads stands, and the others drop what they have. Whenever that is not so, the wire is asked
 * anew, from there: a tab that begins with old events, one that falls behind, stands still and goes on, one that
 * leaves, and a lost connection are all the same.
 */
export class SharedChannel {
  readonly #name: string;
  readonly #wire: Wire;
  readonly #cursors = new Set<Cursor>();
  /** What the gateway has said on this connection; null where it was not asked yet. */
  #numbering: Numbering | null = null;
  /** The seq of the last event that came over the wire; null while it is not subscribed. */
  #after: number | null = null;
  /** The question that is out: what came of an earlier one says nothing any more. */
  #question: object | null = null;

  constructor(name: string, wire: Wire) {
    this.#name = name;
    this.#wire = wire;
  }

  get empty(): boolean {
    return this.#cursors.size === 0;
  }

  join(cursor: Cursor): void {
    this.#cursors.add(cursor);
    this.steer();
  }

  leave(cursor: Cursor): void {
    this.#cursors.delete(cursor);
    this.steer();
  }

  /** There is a new connection: nothing of the earlier one counts. */
  onConnected(): void {
    this.#forget();
    this.steer();
  }

  /** The connection is lost. Tabs that ask again wait until there is one. */
  onLost(): void {
    this.#forget();
    this.#endAll('unavailable');
  }

  onFrame(frame: Frame): void {
    if (this.#after === null) return; // of a subscription that was left
    if (frame.type === 'events') this.#receive(frame, this.#after);
    if (frame.type === 'unsubscribed') {
      this.#forget();
      this.#endAll(frame.code);
    }
    const position = frame.type === 'reset' ? parsePosition(frame.position) : null;
    if (frame.type === 'reset' && position !== null) this.#reset(frame.reason, position);
    this.steer();
  }

  /** Sees to it that the wire stands where it should, and that every tab that can be answered is. */
  steer(): void {
    if (!this.#wire.connected || (this.#question !== null && !this.empty)) return;
    for (const cursor of this.#cursors) if (cursor.position === null && !this.#doubtful(cursor)) this.#begin(cursor);
    const doubtful = this.#numbering === null ? this.#first() : this.#find((cursor) => this.#doubtful(cursor));
    if (doubtful !== undefined) return this.#ask(doubtful);
    const reading = this.#lowest((cursor) => cursor.reading);
    if (reading === undefined) this.#leaveWire();
    else if (reading.position?.seq !== this.#after) this.#ask(reading);
  }

  #forget(): void {
    this.#numbering = null;
    this.#after = null;
    this.#question = null;
  }

  #find(wanted: (cursor: Cursor) => boolean): Cursor | undefined {
    return [...this.#cursors].find(wanted);
  }

  #lowest(wanted: (cursor: Cursor) => boolean): Cursor | undefined {
    const seq = ({ position }: Cursor) => position?.seq ?? Number.POSITIVE_INFINITY;
    return [...this.#cursors].filter(wanted).sort((one, other) => seq(one) - seq(other))[0];
  }

  /** Whom to ask for where nothing is known: most likely one question is enough. */
  #first(): Cursor | undefined {
    return this.#lowest((cursor) => cursor.position !== null) ?? this.#find(() => true);
  }

  /** Only the gateway can say what this cursor's place means: it may be of a numbering that is not known here. */
  #doubtful({ position, since }: Cursor): boolean {
    if (this.#numbering === null || (position === null && since === 'start')) return true;
    const asked = position ?? askedPosition(since, this.#numbering);
    return asked === null || startAt(asked, this.#numbering).reset !== null;
  }

  #begin(cursor: Cursor): void {
    if (this.#numbering === null) return;
    const { epoch, head } = this.#numbering;
    cursor.begin(askedPosition(cursor.since, this.#numbering) ?? { epoch, seq: head }, this.#numbering);
  }

  #leaveWire(): void {
    const subscribed = this.#after !== null || this.#question !== null;
    if (subscribed) this.#wire.request({ type: 'unsubscribe', channel: this.#name });
    this.#after = null;
    this.#question = null;
  }

  #ask(cursor: Cursor): void {
    const { since } = cursor;
    const question = {};
    this.#leaveWire();
    this.#question = question;
    this.#wire.request({ type: 'subscribe', channel: this.#name, since }, (reply) => {
      if (this.#question !== question) return;
      this.#question = null;
      if (reply.type === 'subscribed') this.#subscribed(reply, since, cursor);
      else if (reply.type === 'error' && this.#cursors.delete(cursor)) cursor.end(reply.code, reply.message);
      this.steer();
    });
  }

  #subscribed({ epoch, head, floor }: Numbering, since: string, cursor: Cursor): void {
    const numbering = { epoch, head, floor };
    this.#numbering = numbering;
    const asked = askedPosition(since, numbering) ?? { epoch, seq: head };
    const { after, reset } = startAt(asked, numbering);
    this.#after = after;
    if (this.#cursors.has(cursor) && cursor.position === null) cursor.begin(asked, numbering);
    // The frame that says it follows. By then the wire may stand elsewhere, and it would not be heard.
    if (reset !== null) this.#reset(reset, { epoch, seq: after });
  }

  #endAll(code: string): void {
    for (const cursor of this.#cursors) {
      if (cursor.position === null) continue; // it waits for its answer
      this.#cursors.delete(cursor);
      cursor.end(code);
    }
  }

  #receive(frame: Extract<Frame, { type: 'events' }>, after: number): void {
    const to = frame.from + frame.events.length - 1;
    if (this.#numbering === null || frame.from !== after + 1) return this.#leaveWire(); // asked again where it is needed
    this.#after = to;
    this.#numbering = { ...this.#numbering, head: Math.max(this.#numbering.head, to) };
    for (const cursor of this.#cursors) if (cursor.reading) cursor.take(frame);
  }

  /** What the gateway says of the wire's place, for all cursors that it holds for (I2). */
  #reset(reason: ResetReason, position: Position): void {
    const { epoch, seq } = position;
    const { floor = 1, head = seq } = this.#numbering ?? {};
    this.#after = seq;
    this.#numbering = {
      epoch,
      floor: reason === 'pruned' ? Math.max(floor, seq + 1) : reason === 'epoch' ? 1 : floor,
      head: reason === 'pruned' ? Math.max(head, seq) : seq,
    };
    for (const cursor of this.#cursors) {
      if (cursor.position === null) continue;
      const { epoch: known, seq: has } = cursor.position;
      const concerned = { epoch: known !== epoch, pruned: has < seq, ahead: has > seq }[reason];
      if (concerned && (reason === 'epoch' || known === epoch)) cursor.reset(reason, position);
    }
  }
}
