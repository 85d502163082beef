import { askedPosition, type Frame, formatPosition, startAt } from '@rowcast/client/protocol';
import type { Access, Permit } from '../access/access.js';
import { Refusal } from '../ground/refusal.js';
import type { Channel } from '../hub/channel.js';
import type { Hub } from '../hub/hub.js';
import { Unavailable } from '../ports/database.js';
import type { Positions, Transport } from '../ports/door.js';
import type { Principal } from '../ports/principal.js';
import { type ParsedCommand, RefusedFrame } from './commands.js';
import { Cursor } from './cursor.js';

export interface SubscriptionsOptions {
  readonly transport: Pick<Transport, 'writable'>;
  /** Sends a frame, unless the connection has ended. */
  readonly send: (frame: Frame | Buffer) => void;
  readonly hub: Pick<Hub, 'hold' | 'release'>;
  readonly access: Pick<Access, 'hold'>;
  readonly maxSubscriptions: number;
  readonly fresh: boolean;
  /** Somebody asked for what it may not read. What it throws is the answer. */
  readonly onForbidden?: ((principal: Principal) => void) | undefined;
  /** What a client is told of an error. */
  readonly refusalOf: (error: unknown) => Refusal;
}

/** A subscription; while its channel is being opened it has no cursor. */
interface Entry {
  readonly name: string;
  readonly since: string;
  cursor: Cursor | null;
  permit: Permit | null;
  /** Why the right to read was lost before there was a cursor. */
  lost: Refusal | null;
}

/** The right of another principal to what a subscription reads; it counts when it is taken. */
class Renewal {
  readonly entry: Entry;
  #permit: Permit | null = null;
  #taken = false;
  /** Why there is none. */
  refused: unknown = null;

  constructor(entry: Entry) {
    this.entry = entry;
  }

  async ask(
    access: Pick<Access, 'hold'>,
    principal: Principal,
    onLost: (entry: Entry, refusal: Refusal) => void,
  ): Promise<void> {
    try {
      this.#permit = await access.hold(principal, this.entry.name, (code) => {
        if (this.#taken) onLost(this.entry, new Refusal(code));
        else this.refused = new Refusal(code);
      });
    } catch (error) {
      this.refused = error;
    }
  }

  take(): void {
    this.#taken = true;
    this.entry.permit?.release();
    this.entry.permit = this.#permit;
  }

  giveBack(): void {
    this.#permit?.release();
  }
}

type Subscribe = Extract<ParsedCommand, { type: 'subscribe' }>;

/**
 * The subscriptions of one connection: pumps what follows their cursors into the transport, as fast as that takes it
 * and no faster. What is not yet sent is not held here: a slow client costs one send buffer (I6).
 */
export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #entries = new Map<string, Entry>();
  /** Cursors that are behind, in the order of their turns. */
  readonly #ready = new Set<Cursor>();
  #principal: Principal;
  #opening = 0;
  #paused = false;

  constructor(principal: Principal, options: SubscriptionsOptions) {
    this.#principal = principal;
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** There is something to send that has not been sent, or a subscription that has not been answered. */
  get behind(): boolean {
    return [...this.#entries.values()].some(({ cursor }) => cursor === null || cursor.behind);
  }

  /** Where each stands: what to ask for, as `since`, to go on after what was sent. */
  positions(): Positions {
    return [...this.#entries.values()].map(({ name, since, cursor }) => [name, cursor?.position ?? since]);
  }

  /** Nothing more is sent of any channel until `resume` (I5). */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.pump();
  }

  /**
   * From now on they are the principal's, of the same subject, and those that it may not read end. One call at a time.
   * Rejects with `Unavailable`, and then all is as it was.
   */
  async authorize(principal: Principal): Promise<void> {
    const before = this.#principal;
    this.#principal = principal; // of those whose right is being asked for just now
    const renewals = [...this.#entries.values()]
      .filter(({ permit }) => permit !== null)
      .map((entry) => new Renewal(entry));
    await Promise.all(renewals.map((renewal) => renewal.ask(this.#options.access, principal, this.#lose)));
    const away = renewals.find(({ refused }) => refused instanceof Unavailable);
    if (away !== undefined) this.#principal = before;
    for (const renewal of renewals) {
      if (away !== undefined || !this.#has(renewal.entry)) renewal.giveBack();
      else if (renewal.refused === null) renewal.take();
      else this.#lose(renewal.entry, this.#options.refusalOf(renewal.refused));
    }
    if (away !== undefined) throw away.refused;
  }

  async subscribe({ id, channel: name, since }: Subscribe): Promise<void> {
    const { hub, maxSubscriptions, fresh } = this.#options;
    if (this.#entries.has(name)) throw new Refusal('already_subscribed', `already subscribed to ${name}`);
    // Those that were taken back while their channel was being opened still cost what it costs.
    // With room for a client at its limit that moves from channel to channel while they are.
    if (this.#entries.size >= maxSubscriptions || this.#opening >= 2 * maxSubscriptions) {
      throw new Refusal('too_many_subscriptions');
    }
    // It may be unsubscribed, and even subscribed anew, while its channel is being opened.
    const entry: Entry = { name, since, cursor: null, permit: null, lost: null };
    this.#entries.set(name, entry);
    this.#opening += 1;
    let channel: Channel | null = null;
    try {
      // Before the channel is looked for: who may not read it does not hear whether it is there.
      await this.#permit(entry).catch((error: unknown) => {
        if (error instanceof Refusal && error.code === 'forbidden') this.#options.onForbidden?.(this.#principal);
        throw error;
      });
      channel = await hub.hold(name);
      if (channel === null) throw new Refusal('unknown_channel', `there is no channel ${name}`);
      const asked = askedPosition(since, channel.state);
      if (asked === null) throw new RefusedFrame('invalid_frame', 'since: start, now, a seq or a position', id);
      // The client may know more than this gateway has read so far: ask the table before calling it wrong.
      const unknown = asked.epoch !== channel.state.epoch || asked.seq > channel.state.head;
      if ((unknown || fresh) && !(await channel.refresh()))
        throw new Refusal('unknown_channel', `there is no channel ${name}`);
      if (entry.lost !== null) throw entry.lost;
      if (this.#has(entry)) return this.#begin(id, entry, channel);
      this.#options.send({ type: 'unsubscribed', id, channel: name, code: 'requested' });
    } catch (error) {
      if (this.#has(entry)) this.#entries.delete(name);
      entry.permit?.release();
      if (channel !== null) hub.release(channel);
      throw error;
    } finally {
      this.#opening -= 1;
    }
    entry.permit?.release();
    hub.release(channel);
  }

  unsubscribe(id: number, channel: string): void {
    const entry = this.#entries.get(channel);
    if (entry === undefined) throw new Refusal('not_subscribed', `not subscribed to ${channel}`);
    this.#remove(entry);
    this.#options.send({ type: 'unsubscribed', id, channel, code: 'requested' });
  }

  /** Lets go of everything. */
  clear(): void {
    for (const entry of [...this.#entries.values()]) this.#remove(entry);
  }

  /** One frame of one cursor after the other, while the transport takes it. */
  pump(): void {
    for (const cursor of this.#ready) {
      if (this.#paused || !this.#options.transport.writable) return;
      this.#ready.delete(cursor);
      const frame = cursor.take();
      if (frame === null) continue;
      this.#options.send(frame);
      this.#toEnd(cursor);
      // To the end of the line: the loop comes to it again after the others.
      if (cursor.behind) this.#ready.add(cursor);
    }
  }

  #has(entry: Entry): boolean {
    return this.#entries.get(entry.name) === entry;
  }

  /** Holds the right of the principal as it is at the end: it may be another one by then. */
  async #permit(entry: Entry): Promise<void> {
    let principal: Principal;
    do {
      principal = this.#principal;
      const permit = await this.#options.access.hold(principal, entry.name, (code) =>
        this.#lose(entry, new Refusal(code)),
      );
      entry.permit?.release();
      entry.permit = permit;
      if (!this.#has(entry)) return permit.release();
    } while (principal !== this.#principal);
  }

  readonly #lose = (entry: Entry, refusal: Refusal): void => {
    entry.lost = refusal;
    if (entry.cursor === null || !this.#has(entry)) return;
    this.#remove(entry);
    this.#options.send({ type: 'unsubscribed', channel: entry.name, code: refusal.code });
  };

  /** From here to the end of the reply nothing may wait: the state must be the one the cursor starts from (I4). */
  #begin(id: number, entry: Entry, channel: Channel): void {
    const { state, name } = channel;
    const start = startAt(askedPosition(entry.since, state) ?? { epoch: state.epoch, seq: state.head }, state);
    const cursor = new Cursor(channel, start.after, {
      onReady: (ready) => {
        this.#ready.add(ready);
        this.pump();
      },
      onReset: (_, reason, position) => {
        this.#options.send({ type: 'reset', channel: name, reason, position: formatPosition(position) });
      },
      onEnd: () => {
        this.#remove(entry);
        this.#options.send({ type: 'unsubscribed', channel: name, code: 'unknown_channel' });
      },
    });
    channel.join(cursor);
    // Where the position is another than was asked for, it counts only from the reset on that says so.
    if (start.reset === null) entry.cursor = cursor;
    this.#options.send({ type: 'subscribed', id, channel: name, ...state });
    entry.cursor = cursor;
    if (start.reset !== null) cursor.reset(start.reset, { epoch: state.epoch, seq: start.after });
    cursor.advance();
  }

  #remove(entry: Entry): void {
    const { name, cursor, permit } = entry;
    this.#entries.delete(name);
    permit?.release();
    if (cursor === null) return;
    this.#ready.delete(cursor);
    cursor.channel.leave(cursor);
    this.#options.hub.release(cursor.channel);
  }

  /** Whoever asks for the channels again in this order, as a poll does, comes first to those that had nothing. */
  #toEnd({ channel: { name } }: Cursor): void {
    const entry = this.#entries.get(name);
    if (entry === undefined || this.#entries.size === 1) return;
    this.#entries.delete(name);
    this.#entries.set(name, entry);
  }
}
