/**
 * Limits rates and concurrency by name, such as an address or a user, and for all names together. Rejections carry a retry hint
 * that spreads the clients over time. The doors and the routes use it.
 */
import { Bucket } from './bucket.js';

/** Seconds of the rate that may come at once after a pause: a page load, the restart of a small site. */
const BURST = 2;

/** The longest retry hint, in milliseconds. Callers that get it are so many that no turn is reserved for them. */
export const LONGEST_WAIT = 60_000;

/** Names whose rate is remembered. A forgotten name starts with a full bucket; the bounds for all names still hold. */
const MAX_NAMES = 10_000;

export interface Bounds {
  /** Entries per second; after a pause, twice as many at once. */
  readonly rate: number;
  /** Entries present at once. */
  readonly places: number;
}

export interface LimiterOptions {
  /** Bounds of each name; without `places` it bounds the rate only. */
  readonly each: Pick<Bounds, 'rate'> & Partial<Bounds>;
  /** Bounds of all names together. */
  readonly all?: Bounds;
  /** In milliseconds; never goes back. */
  readonly now?: () => number;
  readonly random?: () => number;
}

export interface Rejection {
  readonly code: 'rate_limited' | 'too_many_connections';
  /** When to try again, in milliseconds from now. */
  readonly retryAfter: number;
}

/**
 * Bounds the rate and the presence of named parties, such as addresses or users. Each name has a token bucket and a count of
 * the entries that are present. The limiter sets no timers.
 */
export class Limiter {
  readonly #each: Bounds;
  readonly #places: number;
  readonly #bucket: Bucket | null;
  readonly #now: () => number;
  readonly #random: () => number;
  /** The least recently used name first. */
  readonly #buckets = new Map<string, Bucket>();
  readonly #counts = new Map<string, number>();
  #present = 0;

  constructor({ each, all, now = () => performance.now(), random = Math.random }: LimiterOptions) {
    this.#each = { places: Number.POSITIVE_INFINITY, ...each };
    this.#places = all?.places ?? Number.POSITIVE_INFINITY;
    this.#bucket = all === undefined ? null : bucketOf(all.rate);
    this.#now = now;
    this.#random = random;
  }

  /** Entries that are present. */
  get present(): number {
    return this.#present;
  }

  /** Names that have entries present. */
  get names(): number {
    return this.#counts.size;
  }

  /** Names whose rate is remembered. */
  get remembered(): number {
    return this.#buckets.size;
  }

  /** Counts requests of a name against the rates. Returns null, or why it is rejected. */
  spend(name: string, requests = 1): Rejection | null {
    const now = this.#now();
    // The bucket of the name first: a name above its rate does not use up the rate of the others.
    const retryAfter = this.#bucketFor(name).take(now, requests) || this.#bucket?.take(now, requests) || 0;
    return retryAfter > 0 ? { code: 'rate_limited', retryAfter } : null;
  }

  /** Adds an entry that is present until `leave` is called. Returns null, or why it is rejected. */
  join(name: string): Rejection | null {
    const count = this.#counts.get(name) ?? 0;
    if (this.#present >= this.#places || count >= this.#each.places) {
      // When a place becomes free is not known. Random hints spread the next attempts.
      return { code: 'too_many_connections', retryAfter: this.#random() * LONGEST_WAIT };
    }
    this.#present += 1;
    this.#counts.set(name, count + 1);
    return null;
  }

  /** `spend` and `join` in one. */
  enter(name: string): Rejection | null {
    return this.spend(name) ?? this.join(name);
  }

  leave(name: string): void {
    this.#present -= 1;
    const count = (this.#counts.get(name) ?? 0) - 1;
    if (count > 0) this.#counts.set(name, count);
    else this.#counts.delete(name);
  }

  #bucketFor(name: string): Bucket {
    const bucket = this.#buckets.get(name) ?? bucketOf(this.#each.rate);
    this.#buckets.delete(name);
    this.#buckets.set(name, bucket);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > MAX_NAMES && oldest !== undefined) this.#buckets.delete(oldest);
    return bucket;
  }
}

function bucketOf(perSecond: number): Bucket {
  return new Bucket({ perSecond, burst: BURST * perSecond }, LONGEST_WAIT);
}
