import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import type { Sql } from '../../ports/database.js';

/** What a write has answered. */
export interface Answered<T> {
  readonly value: T;
  /** It was written before, by a request with the same key; nothing was written now. */
  readonly replayed: boolean;
}

/** The subject is whoever the transaction acts for: keys of others are neither seen nor met. */
const CLAIM = `INSERT INTO rowcast.idempotency_keys (key, fingerprint) VALUES ($1, $2)
  ON CONFLICT DO NOTHING RETURNING true AS claimed`;
const KEEP = `UPDATE rowcast.idempotency_keys SET answer = $2
  WHERE subject = rowcast.actor() AND key = $1 RETURNING answer`;
const FIND = `SELECT answer, fingerprint = $2 AS same FROM rowcast.idempotency_keys
  WHERE subject = rowcast.actor() AND key = $1`;

/**
 * Writes once for each key. The key is claimed first and in the same transaction: an equal request that comes meanwhile
 * waits for this one, and a write that fails leaves nothing behind, not even the key.
 * Rejects with `Refusal` (idempotency_key_reused) where the key came with another request.
 */
export async function once<T>(
  sql: Sql,
  key: string | undefined,
  request: readonly unknown[],
  answer: z.ZodType<T>,
  write: () => Promise<T>,
): Promise<Answered<T>> {
  if (key === undefined) return { value: await write(), replayed: false };
  const fingerprint = Buffer.from(
    await crypto.subtle.digest('SHA-256', new TextEncoder().encode(JSON.stringify(request))),
  );
  const claimed = await sql.query(CLAIM, [key, fingerprint], z.object({ claimed: z.literal(true) }));
  if (claimed.length > 0) {
    const value = JSON.stringify(await write());
    // As it was stored, so that a repeated answer is the same text.
    const [kept] = await sql.query(KEEP, [key, value], z.object({ answer }));
    if (kept === undefined) throw new Error('the idempotency key is gone');
    return { value: kept.answer, replayed: false };
  }
  const [found] = await sql.query(FIND, [key, fingerprint], z.object({ answer: z.unknown(), same: z.boolean() }));
  if (found === undefined) throw new Refusal('unavailable'); // deleted in this very moment, a day after it came
  if (!found.same) throw new Refusal('idempotency_key_reused');
  return { value: answer.parse(found.answer), replayed: true };
}
