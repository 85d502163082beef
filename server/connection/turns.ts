import type { Subscription } from './subscription.js';

/**
 * The subscriptions with events to send, in the order of their turns. They are linked through `next`, because every event
 * passes through here once for each of its readers: a Set would allocate a table for every few of them.
 */
export class Turns {
  #first: Subscription | null = null;
  #last: Subscription | null = null;

  get first(): Subscription | null {
    return this.#first;
  }

  get size(): number {
    let size = 0;
    for (let one = this.#first; one !== null; one = one.next ?? null) size += 1;
    return size;
  }

  /** Adds a subscription at the end, unless it has a turn. */
  add(subscription: Subscription): void {
    if (subscription.next !== undefined) return;
    subscription.next = null;
    if (this.#last === null) this.#first = subscription;
    else this.#last.next = subscription;
    this.#last = subscription;
  }

  remove(subscription: Subscription): void {
    if (subscription.next === undefined) return;
    let before: Subscription | null = null;
    for (let one = this.#first; one !== null && one !== subscription; one = one.next ?? null) before = one;
    if (before === null) this.#first = subscription.next;
    else before.next = subscription.next;
    if (this.#last === subscription) this.#last = before;
    subscription.next = undefined;
  }
}
