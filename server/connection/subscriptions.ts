/**
 * The subscriptions of one connection, and the pump that sends their events: one frame of each in turn, while the transport
 * is writable. Events that cannot be sent stay in the pages of the channel, so that a slow client costs one send buffer
 * and no more (I6).
 */
import type { Frame } from '@rowcast/client/protocol';
import { asRefusal, Refusal, StreamUnreadable } from '../ground/refusal.js';
import type { Hub } from '../hub/hub.js';
import type { Positions, Transport } from '../ports/door.js';
import type { EventsFrame } from '../ports/events-frame.js';
import type { Principal, Rights } from '../ports/principal.js';
import type { ParsedCommand } from './commands.js';
import { type Owner, Subscription } from './subscription.js';
import { withTimes } from './times.js';
import { Turns } from './turns.js';

/** The limits of a principal over all its connections. */
export interface PrincipalLimits {
  /** Counts a connection. Returns a function that releases it. Throws `Refusal` if the principal has too many. */
  enter(principal: Principal): () => void;
  /** Counts a request. Throws `Refusal` if the rate of the principal is exceeded. */
  spend(principal: Principal): void;
  /** Counts bytes of events that were sent. */
  send(principal: Principal, bytes: number): void;
  /**
   * Whether a frame may be sent to the principal now. If not, `turn` is called once when one may be: the connections of a
   * principal that was sent too much take turns.
   */
  admits(principal: Principal, turn: () => void): boolean;
  /** A turn that is not wanted any more. */
  waive(principal: Principal, turn: () => void): void;
}

export interface SubscriptionsOptions {
  readonly transport: Pick<Transport, 'writable' | 'send'>;
  readonly hub: Pick<Hub, 'hold' | 'release' | 'whenReadable'>;
  readonly access: Rights;
  readonly maxSubscriptions: number;
  readonly fresh: boolean;
  /** Whether a subscription to a stream that cannot be read waits until it can, because the client cannot subscribe again to a single channel. */
  readonly waits: boolean;
  readonly principalLimits?: PrincipalLimits | undefined;
  /** Whether the frames of new events say when these were written, read and sent. */
  readonly times: boolean;
  /** Called after each frame of events, with the age of the first one that the gateway knew it for, in milliseconds; null in a replay. */
  readonly delivered?: ((events: number, age: number | null) => void) | undefined;
}

export class Subscriptions implements Owner {
  readonly hub: Pick<Hub, 'hold' | 'release' | 'whenReadable'>;
  readonly access: Rights;
  readonly fresh: boolean;
  readonly #waits: boolean;
  readonly #transport: Pick<Transport, 'writable' | 'send'>;
  readonly #maxSubscriptions: number;
  readonly #principalLimits: PrincipalLimits | undefined;
  readonly #times: boolean;
  readonly #delivered: SubscriptionsOptions['delivered'];
  readonly #all = new Map<string, Subscription>();
  readonly #turns = new Turns();
  #principal: Principal;
  #opening = 0;
  #paused = false;
  #closed = false;

  constructor(
    principal: Principal,
    { transport, hub, access, maxSubscriptions, fresh, waits, principalLimits, times, delivered }: SubscriptionsOptions,
  ) {
    this.#principal = principal;
    this.#transport = transport;
    this.hub = hub;
    this.access = access;
    this.fresh = fresh;
    this.#waits = waits;
    this.#maxSubscriptions = maxSubscriptions;
    this.#principalLimits = principalLimits;
    this.#times = times;
    this.#delivered = delivered;
  }

  get principal(): Principal {
    return this.#principal;
  }

  get size(): number {
    return this.#all.size;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Whether events are available that were not sent yet, or a `subscribe` has no reply yet. */
  get behind(): boolean {
    return [...this.#all.values()].some((subscription) => subscription.behind);
  }

  /** Subscriptions with events that wait until the client reads, or refreshes its token. */
  get stalled(): number {
    return this.#paused || !this.#transport.writable ? this.#turns.size : 0;
  }

  /** The position of each subscription after the last event sent, as a `since` to continue from. */
  positions(): Positions {
    return [...this.#all.values()].map(({ name, position }) => [name, position]);
  }

  /** Stops sending events until `resume` (I5). */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.pump();
  }

  /**
   * Moves all subscriptions to a new principal of the same subject, and ends those that it may not read. Calls must not
   * overlap. If the database cannot be reached it rejects with `Unavailable` and changes nothing.
   */
  async authorize(principal: Principal): Promise<void> {
    const requested = new Set<Subscription>();
    for (;;) {
      // Again and again: a subscription that was opening may have got the right of the old principal in the meantime.
      const due = [...this.#all.values()].filter((one) => one.permitted && !requested.has(one));
      if (due.length === 0) break;
      for (const subscription of due) requested.add(subscription);
      const refused = await Promise.all(due.map((subscription) => subscription.requestRenewal(principal)));
      const failure = refused.find((error) => error !== null && !(error instanceof Refusal));
      if (failure === undefined) continue;
      for (const subscription of requested) subscription.discardRenewal();
      throw failure;
    }
    this.#principal = principal; // those that still have no right request that of this one
    for (const subscription of requested) subscription.renew();
  }

  async subscribe({ id, channel: name, since }: Extract<ParsedCommand, { type: 'subscribe' }>): Promise<void> {
    if (this.#all.has(name)) throw new Refusal('already_subscribed', `already subscribed to ${name}`);
    // Subscriptions that were unsubscribed while opening still occupy the database, so that they count as well. The bound is
    // twice the limit, because a client at its limit may replace all its channels at once.
    if (this.#all.size >= this.#maxSubscriptions || this.#opening >= 2 * this.#maxSubscriptions) {
      throw new Refusal('too_many_subscriptions');
    }
    // While it is opening, the channel may be unsubscribed, and even subscribed to again.
    const subscription = new Subscription(name, since, this);
    this.#all.set(name, subscription);
    await this.#open(id, subscription);
  }

  async #open(id: number, subscription: Subscription): Promise<void> {
    this.#opening += 1;
    try {
      // Access first: a principal that may not read the channel must not learn whether it exists.
      await this.#permit(subscription);
      await subscription.open(id);
    } catch (error) {
      const kept = this.#all.get(subscription.name) === subscription;
      if (this.#waits && kept && error instanceof StreamUnreadable) return this.#wait(id, subscription);
      subscription.close();
      throw error;
    } finally {
      this.#opening -= 1;
    }
  }

  #wait(id: number, subscription: Subscription): void {
    subscription.wait(() => {
      this.#open(id, subscription).catch((error: unknown) => {
        const { code, message } = asRefusal(error);
        this.send({ type: 'error', id, code, message });
      });
    });
  }

  unsubscribe(id: number, channel: string): void {
    const subscription = this.#all.get(channel);
    if (subscription === undefined) throw new Refusal('not_subscribed', `not subscribed to ${channel}`);
    subscription.close();
    this.send({ type: 'unsubscribed', id, channel, code: 'requested' });
  }

  /** Closes all subscriptions. Nothing is sent after this. */
  close(): void {
    this.#closed = true;
    this.#principalLimits?.waive(this.#principal, this.#turn);
    for (const subscription of [...this.#all.values()]) subscription.close();
  }

  send(frame: Frame | EventsFrame): void {
    if (!this.#closed) this.#transport.send(frame);
  }

  ready(subscription: Subscription): void {
    this.#turns.add(subscription);
    this.pump();
  }

  /** Sends one frame of each subscription in turn, while the transport is writable and the principal is not in debt. */
  pump(): void {
    for (let next = this.#next; next !== null; next = this.#next) {
      if (this.#principalLimits?.admits(this.#principal, this.#turn) === false) return;
      this.#sendOf(next);
    }
  }

  /** The turn of this connection among those of a principal that is in debt. */
  readonly #turn = (): void => {
    const next = this.#next;
    if (next !== null) this.#sendOf(next);
    this.pump();
  };

  get #next(): Subscription | null {
    return this.#paused || !this.#transport.writable ? null : this.#turns.first;
  }

  #sendOf(subscription: Subscription): void {
    this.#turns.remove(subscription);
    const frame = subscription.take();
    if (frame === null) return;
    const { age } = subscription;
    this.send(this.#times && age !== null ? withTimes(frame, age) : frame);
    this.#delivered?.(frame.to - frame.from + 1, age);
    this.#principalLimits?.send(this.#principal, frame.text.length);
    this.#toEnd(subscription);
    // Its next turn is after those of the others.
    if (subscription.behind) this.#turns.add(subscription);
  }

  remove(subscription: Subscription): void {
    this.#turns.remove(subscription);
    if (this.#all.get(subscription.name) === subscription) this.#all.delete(subscription.name);
  }

  async #permit(subscription: Subscription): Promise<void> {
    try {
      await subscription.permit();
    } catch (error) {
      // A refused channel costs a query. If the rate is exceeded, `spend` throws the refusal that becomes the reply.
      if (error instanceof Refusal && error.code === 'forbidden') this.#principalLimits?.spend(this.#principal);
      throw error;
    }
  }

  /** Moves a subscription to the end of `positions()`. The next poll subscribes in that order, so that channels without events yet come first. */
  #toEnd(subscription: Subscription): void {
    if (this.#all.size === 1 || this.#all.get(subscription.name) !== subscription) return;
    this.#all.delete(subscription.name);
    this.#all.set(subscription.name, subscription);
  }
}
