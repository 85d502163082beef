import type { Frame } from '@rowcast/client/protocol';
import { Refusal } from '../ground/refusal.js';
import type { Hub } from '../hub/hub.js';
import type { Positions, Transport } from '../ports/door.js';
import type { Principal, Rights } from '../ports/principal.js';
import type { ParsedCommand } from './commands.js';
import { type Owner, Subscription } from './subscription.js';

/** What one principal may have and do, on all its connections. */
export interface PrincipalLimits {
  /** Takes a connection as one of those that the principal may have; returns what gives it back. Throws `Refusal`. */
  enter(principal: Principal): () => void;
  /** Takes a request as one of those that the principal may make. Throws `Refusal`. */
  spend(principal: Principal): void;
}

export interface SubscriptionsOptions {
  readonly transport: Pick<Transport, 'writable' | 'send'>;
  readonly hub: Pick<Hub, 'hold' | 'release'>;
  readonly access: Rights;
  readonly maxSubscriptions: number;
  readonly fresh: boolean;
  readonly principalLimits?: PrincipalLimits | undefined;
}

/**
 * The subscriptions of one connection: pumps what follows their places into the transport, as fast as that takes it
 * and no faster. What is not yet sent is not held here: a slow client costs one send buffer (I6).
 */
export class Subscriptions implements Owner {
  readonly hub: Pick<Hub, 'hold' | 'release'>;
  readonly access: Rights;
  readonly fresh: boolean;
  readonly #transport: Pick<Transport, 'writable' | 'send'>;
  readonly #maxSubscriptions: number;
  readonly #principalLimits: PrincipalLimits | undefined;
  readonly #all = new Map<string, Subscription>();
  /** Those that are behind, in the order of their turns. */
  readonly #ready = new Set<Subscription>();
  #principal: Principal;
  #opening = 0;
  #paused = false;
  #closed = false;

  constructor(
    principal: Principal,
    { transport, hub, access, maxSubscriptions, fresh, principalLimits }: SubscriptionsOptions,
  ) {
    this.#principal = principal;
    this.#transport = transport;
    this.hub = hub;
    this.access = access;
    this.fresh = fresh;
    this.#maxSubscriptions = maxSubscriptions;
    this.#principalLimits = principalLimits;
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

  /** There is something to send that has not been sent, or a subscription that has not been answered. */
  get behind(): boolean {
    return [...this.#all.values()].some((subscription) => subscription.behind);
  }

  /** Where each stands: what to ask for, as `since`, to go on after what was sent. */
  positions(): Positions {
    return [...this.#all.values()].map(({ name, position }) => [name, position]);
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
    const permitted = [...this.#all.values()].filter((subscription) => subscription.permitted);
    const refused = await Promise.all(permitted.map((subscription) => subscription.askFor(principal)));
    const failure = refused.find((error) => error !== null && !(error instanceof Refusal));
    if (failure !== undefined) this.#principal = before;
    for (const subscription of permitted) {
      if (failure === undefined) subscription.renew();
      else subscription.keep();
    }
    if (failure !== undefined) throw failure;
  }

  async subscribe({ id, channel: name, since }: Extract<ParsedCommand, { type: 'subscribe' }>): Promise<void> {
    if (this.#all.has(name)) throw new Refusal('already_subscribed', `already subscribed to ${name}`);
    // Those that were taken back while their channel was being opened still cost what it costs.
    // With room for a client at its limit that moves from channel to channel while they are.
    if (this.#all.size >= this.#maxSubscriptions || this.#opening >= 2 * this.#maxSubscriptions) {
      throw new Refusal('too_many_subscriptions');
    }
    // It may be unsubscribed, and even subscribed anew, while its channel is being opened.
    const subscription = new Subscription(name, since, this);
    this.#all.set(name, subscription);
    this.#opening += 1;
    try {
      // Before the channel is looked for: a principal that may not read it does not hear whether it is there.
      await this.#permit(subscription);
      await subscription.open(id);
    } catch (error) {
      subscription.close();
      throw error;
    } finally {
      this.#opening -= 1;
    }
  }

  unsubscribe(id: number, channel: string): void {
    const subscription = this.#all.get(channel);
    if (subscription === undefined) throw new Refusal('not_subscribed', `not subscribed to ${channel}`);
    subscription.close();
    this.send({ type: 'unsubscribed', id, channel, code: 'requested' });
  }

  /** Lets go of everything, and sends nothing any more. */
  close(): void {
    this.#closed = true;
    for (const subscription of [...this.#all.values()]) subscription.close();
  }

  send(frame: Frame | Buffer): void {
    if (!this.#closed) this.#transport.send(frame);
  }

  ready(subscription: Subscription): void {
    this.#ready.add(subscription);
    this.pump();
  }

  /** One frame of one subscription after the other, while the transport takes it. */
  pump(): void {
    for (const subscription of this.#ready) {
      if (this.#paused || !this.#transport.writable) return;
      this.#ready.delete(subscription);
      const frame = subscription.take();
      if (frame === null) continue;
      this.send(frame);
      this.#toEnd(subscription);
      // To the end of the line: the loop comes to it again after the others.
      if (subscription.behind) this.#ready.add(subscription);
    }
  }

  remove(subscription: Subscription): void {
    this.#ready.delete(subscription);
    if (this.#all.get(subscription.name) === subscription) this.#all.delete(subscription.name);
  }

  async #permit(subscription: Subscription): Promise<void> {
    try {
      await subscription.permit();
    } catch (error) {
      // It has cost the database a question: what this throws is the answer.
      if (error instanceof Refusal && error.code === 'forbidden') this.#principalLimits?.spend(this.#principal);
      throw error;
    }
  }

  /** A client that asks for the channels again in this order, as a poll does, comes first to those that had nothing. */
  #toEnd(subscription: Subscription): void {
    if (this.#all.size === 1 || this.#all.get(subscription.name) !== subscription) return;
    this.#all.delete(subscription.name);
    this.#all.set(subscription.name, subscription);
  }
}
