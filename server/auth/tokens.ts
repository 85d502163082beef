import { createHash } from 'node:crypto';
import { errors, type JWTPayload, jwtVerify } from 'jose';
import { LRUCache } from 'lru-cache';
import type { Logger } from '../ground/logger.js';
import { Refusal } from '../ground/refusal.js';
import { isStorable } from '../ground/storable.js';
import { type Principal, ROLES } from '../ports/principal.js';
import { NoKeys } from './issuer-keys.js';
import type { KeySource } from './key-source.js';

/** A longer token is refused before any work, in characters. */
const LONGEST_TOKEN = 16 * 1024;

/** A token that was verified is known for so long, in milliseconds: a poller shows the same one again and again. */
const REMEMBERED = 60_000;

/** What the memory of verified tokens may hold, in bytes, and what an entry takes besides its text. */
const MEMORY = 8 * 1024 * 1024;
const ENTRY = 500;

/** The last moment that a `Date` has, in milliseconds since 1970; PostgreSQL knows later ones. */
const END_OF_TIME = 8.64e15;

export interface TokenRules {
  readonly keys: KeySource;
  readonly audience: readonly string[] | undefined;
  readonly issuer: readonly string[] | undefined;
  /** In seconds. */
  readonly clockTolerance: number;
  readonly roleClaim: string;
  readonly logger: Logger;
}

/** Checks tokens: JWTs that are signed, say who they are for, and end. */
export class Tokens {
  readonly #rules: TokenRules;
  /** By the hash of the token: the memory of a process is no place for tokens. */
  readonly #verified = new LRUCache<string, Principal & { readonly expiresAt: number }>({
    maxSize: MEMORY,
    sizeCalculation: ({ subject, claims }) => ENTRY + 2 * (subject.length + claims.length),
    ttl: REMEMBERED,
  });

  constructor(rules: TokenRules) {
    this.#rules = rules;
  }

  /** Who a token is of. Rejects with `Refusal`; its message says what is wrong, and holds nothing of the token. */
  async verify(token: string): Promise<Principal> {
    if (token.length > LONGEST_TOKEN) throw unauthorized(`the token is longer than ${LONGEST_TOKEN} characters`);
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
      if (error instanceof NoKeys)
        throw new Refusal('unavailable', 'the issuer of tokens cannot be asked for its keys');
      if (!(error instanceof errors.JOSEError)) logger.warn({ err: error }, 'a token could not be checked');
      throw refusalOf(error, keys);
    }
  }

  #principalOf(payload: JWTPayload): Principal & { readonly expiresAt: number } {
    const { clockTolerance, roleClaim } = this.#rules;
    const { sub: subject, exp = 0, [roleClaim]: named } = payload;
    if (typeof subject !== 'string' || subject === '') throw unauthorized('the claim sub of the token is not a name');
    const claims = JSON.stringify(payload, storableOnly);
    const role = ROLES.find((known) => known === named) ?? 'authenticated';
    return { subject, role, claims, expiresAt: Math.min((exp + clockTolerance) * 1000, END_OF_TIME) };
  }
}

/** PostgreSQL reads the claims as JSON. */
function storableOnly(name: string, value: unknown): unknown {
  if (isStorable(name) && (typeof value !== 'string' || isStorable(value))) return value;
  throw unauthorized('a claim of the token holds what is no text');
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
    return unauthorized('the token does not say which of several keys it is signed with (kid)');
  }
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid)
    return unauthorized('this is not a JWT');
  return unauthorized('the token cannot be checked');
}

function claimRefusal({ claim, reason }: errors.JWTClaimValidationFailed): Refusal {
  if (reason === 'missing') return unauthorized(`the token has no claim ${claim}`);
  if (reason === 'invalid') return unauthorized(`the claim ${claim} of the token has the wrong form`);
  if (claim === 'nbf') return new Refusal('token_not_yet_valid');
  return unauthorized(`the token is ${claim === 'aud' ? 'for another audience' : 'from another issuer'}`);
}
