import { Refusal } from '../ground/refusal.js';
import type { Principal } from '../ports/principal.js';
import type { Limiter, Rejection } from './limiter.js';

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

  constructor(limiter: Limiter) {
    this.#limiter = limiter;
  }

  /** Counts one request, or the body of one as several. Throws `Refusal` (rate_limited). */
  spend({ role, subject }: Principal, requests = 1): void {
    if (role === 'authenticated') throwIfRejected(this.#limiter.spend(subject, requests));
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
