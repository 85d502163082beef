import { Bucket, type Rate } from './bucket.js';

/** So many seconds' worth may come at once after a rest: a page load, a restart of a small site. */
const BURST = 2;

/** The longest that anybody is told to stay away, in milliseconds; behind it the queue of those turned away ends. */
export const LONGEST_WAIT = 60_000;

/** Names whose rate is remembered. A forgotten one begins anew; what bounds all of them together holds all the same. */
const MAX_NAMES = 10_000;

/** After a rest, twice a second's worth. */
export function rateOf(perSecond: number): Rate {
  return { perSecond, burst: BURST * perSecond };
}

/** One bucket per name, of an address or of a principal: so many at most, the one that was quiet longest is forgotten first. */
export class Rates {
  readonly #rate: Rate;
  readonly #buckets = new Map<string, Bucket>();

  constructor(perSecond: number) {
    this.#rate = rateOf(perSecond);
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** As `Bucket.take`. */
  take(name: string, now: number): number {
    const bucket = this.#buckets.get(name) ?? new Bucket(this.#rate, LONGEST_WAIT);
    this.#buckets.delete(name);
    this.#buckets.set(name, bucket);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > MAX_NAMES && oldest !== undefined) this.#buckets.delete(oldest);
    return bucket.take(now);
  }
}
