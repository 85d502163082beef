import { LRUCache } from 'lru-cache';
import { Refusal } from '../ground/refusal.js';
import { type Clock, systemClock } from '../ports/clock.js';
import type { Principal } from '../ports/principal.js';
import type { Limiter, Rejection } from './limiter.js';
import { Pace } from './pace.js';

/** Of the process: it never goes back. */
const STEADY: Clock = { ...systemClock, now: () => performance.now() };
const MAX_USERS = 10_000;

const MESSAGES: Readonly<Record<Rejection['code'], string>> = {
  rate_limited: 'too many requests of this user',
  too_many_connections: 'this user has as many connections as one may have',
};

/**
 * Limits of one user over all its addresses and tokens, so that a stolen token, or a page that sends requests in a loop,
 * takes nothing from other users. They do not apply to services, which are trusted, nor to anonymous clients, which are all
 * one subject: both are limited by their address alone.
 */
export class UserLimits {
  readonly #limiter: Limiter;
  readonly #clock: Clock;
  readonly #paces = new LRUCache<string, Pace>({ max: MAX_USERS });

  constructor(limiter: Limiter, clock = STEADY) {
    this.#limiter = limiter;
    this.#clock = clock;
  }

  /** Counts one request, or the body of one as several. Throws `Refusal` (rate_limited). */
  spend({ role, subject }: Principal, requests = 1): void {
    if (role === 'authenticated') throwIfRejected(this.#limiter.spend(subject, requests));
  }

  /** Throws `Refusal` (rate_limited) while this user has been sent more than one may be. */
  refuseInDebt(principal: Principal): void {
    const wait = this.send(principal, 0);
    if (wait > 0) throw new Refusal('rate_limited', 'too much was sent to this user', wait);
  }

  /** Counts bytes that were sent; returns how long nothing more is sent to this user, in milliseconds. */
  send(principal: Principal, bytes: number): number {
    return this.#paceOf(principal)?.spend(bytes) ?? 0;
  }

  /** Whether a frame may be sent to this user now. If not, `turn` is called once when one may be. */
  admits(principal: Principal, turn: () => void): boolean {
    return this.#paceOf(principal)?.admits(turn) ?? true;
  }

  /** A turn that is not wanted any more. */
  waive(principal: Principal, turn: () => void): void {
    this.#paceOf(principal)?.leave(turn);
  }

  /** Counts one connection, which is a request as well; returns how to end it. Throws `Refusal` (rate_limited, too_many_connections). */
  enter({ role, subject }: Principal): () => void {
    if (role !== 'authenticated') return () => {};
    throwIfRejected(this.#limiter.enter(subject));
    return () => this.#limiter.leave(subject);
  }

  #paceOf({ role, subject }: Principal): Pace | undefined {
    if (role !== 'authenticated') return undefined;
    const known = this.#paces.get(subject);
    if (known !== undefined) return known;
    const pace = new Pace(this.#clock);
    this.#paces.set(subject, pace);
    return pace;
  }
}

function throwIfRejected(rejection: Rejection | null): void {
  if (rejection !== null) throw new Refusal(rejection.code, MESSAGES[rejection.code], rejection.retryAfter);
}
