import { Bucket } from './bucket.js';
import { LONGEST_WAIT, Rates, rateOf } from './rates.js';

export interface AdmissionLimits {
  /** Connections at once: of the gateway, and of one address. */
  readonly connections: number;
  readonly addressConnections: number;
  /** New ones per second. */
  readonly rate: number;
  readonly addressRate: number;
}

export interface TurnedAway {
  readonly code: 'rate_limited' | 'too_many_connections';
  /** When to come back, in milliseconds from now. */
  readonly retryAfter: number;
  /** So many are turned away that even telling them why costs too much. */
  readonly curtly: boolean;
}

/** Who may connect now, and when to come back who may not. It has no timers; `now` never goes back. */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #all: Bucket;
  readonly #rates: Rates;
  readonly #present = new Map<string, number>();
  #connections = 0;

  constructor(limits: AdmissionLimits, now: () => number, random: () => number = Math.random) {
    this.#limits = limits;
    this.#now = now;
    this.#random = random;
    this.#all = new Bucket(rateOf(limits.rate), LONGEST_WAIT);
    this.#rates = new Rates(limits.addressRate);
  }

  /** Connections at once, and addresses that have some. */
  get connections(): number {
    return this.#connections;
  }

  get addresses(): number {
    return this.#present.size;
  }

  /** Admits one connection of an address, which calls `leave` when it ends; or says why not. */
  enter(address: string): TurnedAway | null {
    const now = this.#now();
    // The address first: one that asks too often does not use up the rate of the others.
    const retryAfter = this.#rates.take(address, now) || this.#all.take(now);
    if (retryAfter > 0) return { code: 'rate_limited', retryAfter, curtly: retryAfter >= LONGEST_WAIT };
    return this.join(address);
  }

  /** The same without a rate, for requests, which have one of their own. */
  join(address: string): TurnedAway | null {
    const present = this.#present.get(address) ?? 0;
    if (this.#connections >= this.#limits.connections || present >= this.#limits.addressConnections) {
      // Nobody knows when one leaves. One moment of the next minute is as good as another.
      return { code: 'too_many_connections', retryAfter: this.#random() * LONGEST_WAIT, curtly: false };
    }
    this.#connections += 1;
    this.#present.set(address, present + 1);
    return null;
  }

  leave(address: string): void {
    this.#connections -= 1;
    const present = (this.#present.get(address) ?? 0) - 1;
    if (present > 0) this.#present.set(address, present);
    else this.#present.delete(address);
  }
}
