/**
 * Verifies tokens: signed JWTs with a subject, an expiry, and the configured audience and issuer. It returns the
 * principal of a token, caches it for a minute, and turns every failure into a refusal that says which check failed.
 */
import { createHash } from 'node:crypto';
import { errors, type JWTPayload, jwtVerify } from 'jose';
import { LRUCache } from 'lru-cache';
import type { Logger } from '../ground/logger.js';
import { Refusal } from '../ground/refusal.js';
import { isStorable } from '../ground/storable.js';
import { type Principal, ROLES } from '../ports/principal.js';
import { NoKeys } from './issuer-keys.js';
import type { KeySource } from './key-source.js';

/** Maximum length of a token, in characters. Longer ones are refused without parsing. */
const MAX_TOKEN_LENGTH = 16 * 1024;

/** How long a verified token is cached, in milliseconds: a client that polls sends the same one with each request. */
const CACHE_TIME = 60_000;

/** Maximum size of the cache of verified tokens, and the overhead of one entry, in bytes. */
const CACHE_BYTES = 8 * 1024 * 1024;
const ENTRY_BYTES = 500;

/** The latest time of a JavaScript `Date`, in milliseconds since 1970. */
const MAX_TIME = 8.64e15;

export interface TokenRules {
  readonly keys: KeySource;
  readonly audience: readonly string[] | undefined;
  readonly issuer: readonly string[] | undefined;
  /** In seconds. */
  readonly clockTolerance: number;
  readonly roleClaim: string;
  readonly logger: Logger;
}

export class Tokens {
  readonly #rules: TokenRules;
  /** By the hash of the token, so that tokens do not remain in memory. */
  readonly #verified = new LRUCache<string, Principal & { readonly expiresAt: number }>({
    maxSize: CACHE_BYTES,
    sizeCalculation: ({ subject, claims }) => ENTRY_BYTES + 2 * (subject.length + claims.length),
    ttl: CACHE_TIME,
  });

  constructor(rules: TokenRules) {
    this.#rules = rules;
  }

  /** Returns the principal of a token. Rejects with `Refusal`, whose message names the failed check and contains no part of the token. */
  async verify(token: string): Promise<Principal> {
    if (token.length > MAX_TOKEN_LENGTH) throw unauthorized(`the token is longer than ${MAX_TOKEN_LENGTH} characters`);
    const hash = createHash('sha256').update(token).digest('base64');
    const known = this.#verified.get(hash);
    if (known !== undefined && known.expiresAt > Date.now()) return known;
    const principal = this.#principalOf(await this.#payloadOf(token));
    this.#verified.set(hash, principal);
    return principal;
  }

  async #payloadOf(token: string): Promise<JWTPayload> {
    const { keys, audience, issuer, clockTolerance, logger } = this.#rules;
    try {
      const { payload } = await jwtVerify(token, keys.find, {
        algorithms: [...keys.algorithms],
        requiredClaims: ['sub', 'exp'],
        clockTolerance,
        ...(audience && { audience: [...audience] }),
        ...(issuer && { issuer: [...issuer] }),
      });
      return payload;
    } catch (error) {
      if (error instanceof NoKeys) throw new Refusal('unavailable', 'the keys of the token issuer cannot be fetched');
      if (!(error instanceof errors.JOSEError)) logger.warn({ err: error }, 'a token could not be verified');
      throw refusalOf(error, keys);
    }
  }

  #principalOf(payload: JWTPayload): Principal & { readonly expiresAt: number } {
    const { clockTolerance, roleClaim } = this.#rules;
    const { sub: subject, exp = 0, [roleClaim]: claimed } = payload;
    if (typeof subject !== 'string' || subject === '')
      throw unauthorized('the claim sub of the token is not a non-empty string');
    const claims = claimsOf(payload);
    const role = ROLES.find((known) => known === claimed) ?? 'authenticated';
    return { subject, role, claims, expiresAt: Math.min((exp + clockTolerance) * 1000, MAX_TIME) };
  }
}

function claimsOf(payload: JWTPayload): string {
  try {
    return JSON.stringify(payload, storableOnly);
  } catch (error) {
    throw error instanceof RangeError ? unauthorized('the claims of the token are nested too deeply') : error;
  }
}

/** Refuses claims that PostgreSQL could not read as JSON. */
function storableOnly(name: string, value: unknown): unknown {
  if (isStorable(name) && (typeof value !== 'string' || isStorable(value))) return value;
  throw unauthorized('a claim of the token contains a character that cannot be stored');
}

function unauthorized(message: string): Refusal {
  return new Refusal('unauthorized', message);
}

function refusalOf(error: unknown, { algorithms }: KeySource): Refusal {
  if (error instanceof errors.JWTExpired) return new Refusal('token_expired');
  if (error instanceof errors.JWTClaimValidationFailed) return claimRefusal(error);
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return unauthorized(`the token is not signed with ${algorithms.join(' or ')}`);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return unauthorized('the signature of the token is not valid');
  }
  if (error instanceof errors.JWKSNoMatchingKey) return unauthorized('the token is signed with an unknown key');
  if (error instanceof errors.JWKSMultipleMatchingKeys) {
    return unauthorized('the token does not name the key it is signed with (kid), and several match');
  }
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid)
    return unauthorized('the token is not a JWT');
  return unauthorized('the token cannot be verified');
}

function claimRefusal({ claim, reason }: errors.JWTClaimValidationFailed): Refusal {
  if (reason === 'missing') return unauthorized(`the token has no claim ${claim}`);
  if (reason === 'invalid') return unauthorized(`the claim ${claim} of the token has the wrong form`);
  if (claim === 'nbf') return new Refusal('token_not_yet_valid');
  return unauthorized(`the token is ${claim === 'aud' ? 'for another audience' : 'from another issuer'}`);
}
