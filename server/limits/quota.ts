import { Refusal } from '../ground/refusal.js';
import type { Principal } from '../ports/principal.js';
import { LONGEST_WAIT, Rates } from './rates.js';

export interface QuotaLimits {
  /** Connections of one user at once, polls that wait included. */
  readonly connections: number;
  /** Requests of one user per second. */
  readonly rate: number;
}

/**
 * What one user may have, wherever it comes from: a token that was stolen, or a page that asks in a loop, takes nothing
 * from the others. A service is trusted, and those whom nobody knows are all one subject: both are held by their address alone.
 */
export class Quota {
  readonly #limits: QuotaLimits;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #rates: Rates;
  readonly #present = new Map<string, number>();

  constructor(limits: QuotaLimits, now: () => number, random: () => number = Math.random) {
    this.#limits = limits;
    this.#now = now;
    this.#random = random;
    this.#rates = new Rates(limits.rate);
  }

  /** Users that are connected. */
  get users(): number {
    return this.#present.size;
  }

  /** One request. Throws `Refusal` (rate_limited). */
  spend({ role, subject }: Principal): void {
    if (role !== 'authenticated') return;
    const retryAfter = this.#rates.take(subject, this.#now());
    if (retryAfter > 0) throw new Refusal('rate_limited', 'too many requests of this user', retryAfter);
  }

  /** One connection, which is a request as well; returns what ends it. Throws `Refusal` (rate_limited, too_many_connections). */
  enter(principal: Principal): () => void {
    const { role, subject } = principal;
    if (role !== 'authenticated') return () => {};
    this.spend(principal);
    const present = this.#present.get(subject) ?? 0;
    if (present >= this.#limits.connections) {
      throw new Refusal(
        'too_many_connections',
        'this user has as many connections as one may have',
        this.#random() * LONGEST_WAIT,
      );
    }
    this.#present.set(subject, present + 1);
    return () => this.#leave(subject);
  }

  #leave(subject: string): void {
    const present = (this.#present.get(subject) ?? 0) - 1;
    if (present > 0) this.#present.set(subject, present);
    else this.#present.delete(subject);
  }
}
