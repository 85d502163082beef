import { type Frame, formatPosition, type Position, type ResetReason, type Row } from '../protocol/index.js';

type Events = Extract<Frame, { type: 'events' }>;
type Subscribed = Extract<Frame, { type: 'subscribed' }>;

/** The way to one tab. */
export interface Outlet {
  /** Whether the tab keeps up. What is no event may be sent to it all the same. */
  readonly writable: boolean;
  send(frame: Frame): void;
}

/** Whose cursor it is. */
export interface Owner extends Outlet {
  /** The cursor has ended. */
  forget(cursor: Cursor): void;
}

/** One subscription of one tab: a place in a channel that it may share with other tabs. */
export class Cursor {
  readonly channel: string;
  /** Of the command that asked for it. */
  readonly id: number;
  /** As asked for, until it is answered; from then on the position. */
  #since: string;
  readonly #owner: Owner;
  #position: Position | null = null;

  constructor(owner: Owner, id: number, channel: string, since: string) {
    this.#owner = owner;
    this.id = id;
    this.channel = channel;
    this.#since = since;
  }

  /** What the tab has; null until `subscribed` was sent to it. */
  get position(): Position | null {
    return this.#position;
  }

  get since(): string {
    return this.#position === null ? this.#since : formatPosition(this.#position);
  }

  /** It takes the events that follow its position. */
  get reading(): boolean {
    return this.#position !== null && this.#owner.writable;
  }

  begin(position: Position, state: Pick<Subscribed, 'epoch' | 'head' | 'floor'>): void {
    this.#position = position;
    this.#owner.send({ type: 'subscribed', id: this.id, channel: this.channel, ...state });
  }

  reset(reason: ResetReason, position: Position): void {
    this.#position = position;
    this.#owner.send({ type: 'reset', channel: this.channel, reason, position: formatPosition(position) });
  }

  /** Sends what it does not have of events that begin at or before the one that it needs next (I1, I2, I3). */
  take(frame: Events): void {
    const { epoch, seq } = this.#position ?? { epoch: '', seq: Number.POSITIVE_INFINITY };
    const to = frame.from + frame.events.length - 1;
    if (seq >= to) return;
    const events: readonly Row[] = frame.events.slice(seq + 1 - frame.from);
    // All tabs that stand at the same place get the same object, which is then encoded once.
    this.#owner.send(seq + 1 === frame.from ? frame : { ...frame, from: seq + 1, events });
    this.#position = { epoch, seq: to };
  }

  /** It cannot go on, or could not begin. */
  end(code: string, message = ''): void {
    const { id, channel } = this;
    this.#owner.forget(this);
    this.#owner.send(
      this.#position === null ? { type: 'error', id, code, message } : { type: 'unsubscribed', channel, code },
    );
  }
}
