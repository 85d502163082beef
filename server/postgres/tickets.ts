import { createHash, randomBytes } from 'node:crypto';
import type pg from 'pg';
import { z } from 'zod';
import { Unavailable } from '../ground/refusal.js';
import { type Principal, ROLES, type Tickets } from '../ports/principal.js';
import { isConnectionLoss } from './session.js';

/** The entropy of a ticket, in bytes. */
const TICKET_BYTES = 32;

const ISSUE = `
INSERT INTO rowcast.tickets (hash, subject, role, claims, token_expires_at, expires_at)
VALUES ($1, $2, $3, $4, to_timestamp($5::double precision / 1000), now() + $6 * interval '1 second')`;

/** One statement, so that only one of several concurrent requests can redeem a ticket, on all gateways together. */
const REDEEM = `
DELETE FROM rowcast.tickets WHERE hash = $1
RETURNING subject, role, claims, extract(epoch FROM token_expires_at)::double precision * 1000 AS expires_at,
  expires_at > now() AS good`;

const redeemed = z.object({
  subject: z.string(),
  role: z.enum(ROLES),
  claims: z.string(),
  expires_at: z.number().nullable(),
  good: z.boolean(),
});

/** Stores tickets in a table, so that every gateway on the database accepts them. Only their hashes are stored. `rowcast.sweep` deletes expired ones. */
export class StoredTickets implements Tickets {
  readonly #pool: pg.Pool;
  readonly #ttl: number;

  /** `ttl` in seconds. */
  constructor(pool: pg.Pool, ttl: number) {
    this.#pool = pool;
    this.#ttl = ttl;
  }

  async issue({ subject, role, claims, expiresAt }: Principal): Promise<{ ticket: string; expiresIn: number }> {
    const ticket = randomBytes(TICKET_BYTES).toString('base64url');
    await this.#query('rowcast issue ticket', ISSUE, [hashOf(ticket), subject, role, claims, expiresAt, this.#ttl]);
    return { ticket, expiresIn: this.#ttl };
  }

  async redeem(ticket: string): Promise<Principal | null> {
    const [found] = z.array(redeemed).parse(await this.#query('rowcast redeem ticket', REDEEM, [hashOf(ticket)]));
    if (found === undefined || !found.good) return null;
    const { subject, role, claims, expires_at: expiresAt } = found;
    return { subject, role, claims, expiresAt };
  }

  async #query(name: string, text: string, values: unknown[]): Promise<unknown[]> {
    try {
      return (await this.#pool.query({ name, text, values })).rows;
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      throw new Unavailable(`tickets: ${(error as Error).message}`, { cause: error });
    }
  }
}

function hashOf(ticket: string): Buffer {
  return createHash('sha256').update(ticket).digest();
}
