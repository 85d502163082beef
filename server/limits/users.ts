import { LRUCache } from 'lru-cache';
import { Refusal } from '../ground/refusal.js';
import type { Principal } from '../ports/principal.js';
import { Bucket } from './bucket.js';
import type { Limiter, Rejection } from './limiter.js';

/** Bytes that are sent to one user, on all its connections. Beyond it, the user's cursors wait, and its other reads are refused. */
const SENT = { perSecond: 8 * 1024 * 1024, burst: 32 * 1024 * 1024 };
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
  readonly #sent = new LRUCache<string, Bucket>({ max: MAX_USERS });

  constructor(limiter: Limiter) {
    this.#limiter = limiter;
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
  send({ role, subject }: Principal, bytes: number): number {
    if (role !== 'authenticated') return 0;
    const bucket = this.#sent.get(subject) ?? new Bucket(SENT);
    this.#sent.set(subject, bucket);
    return bucket.spend(performance.now(), bytes);
  }

  /** Counts one connection, which is a request as well; returns how to end it. Throws `Refusal` (rate_limited, too_many_connections). */
  enter({ role, subject }: Principal): () => void {
    if (role !== 'authenticated') return () => {};
    throwIfRejected(this.#limiter.enter(subject));
    return () => this.#limiter.leave(subject);
  }
}

function throwIfRejected(rejection: Rejection | null): void {
  if (rejection !== null) throw new Refusal(rejection.code, MESSAGES[rejection.code], rejection.retryAfter);
}
