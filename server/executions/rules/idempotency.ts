import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import type { Sql } from '../../ports/database.js';

/** The result of a write. */
export interface Answered<T> {
  readonly value: T;
  /** Whether an earlier request with the same key has written it, so that nothing was written now. */
  readonly replayed: boolean;
}

/** Keys belong to the subject of the transaction: keys of other subjects are neither visible nor in conflict. */
const CLAIM = `INSERT INTO rowcast.idempotency_keys (key, fingerprint) VALUES ($1, $2)
  ON CONFLICT DO NOTHING RETURNING true AS claimed`;
const KEEP = `UPDATE rowcast.idempotency_keys SET answer = $2
  WHERE subject = rowcast.actor() AND key = $1 RETURNING answer`;
const FIND = `SELECT answer, fingerprint = $2 AS same FROM rowcast.idempotency_keys
  WHERE subject = rowcast.actor() AND key = $1`;

/**
 * Runs a write once per key. The key is claimed first, in the same transaction: a concurrent request with the key waits
 * for this one, and a write that fails does not keep the key. Rejects with `Refusal` (idempotency_key_reused) if the key was
 * used with a different request.
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
    // Read back as stored, so that the first response and a replayed one have the same text.
    const [kept] = await sql.query(KEEP, [key, value], z.object({ answer }));
    if (kept === undefined) throw new Error('the idempotency key has disappeared');
    return { value: kept.answer, replayed: false };
  }
  const [found] = await sql.query(FIND, [key, fingerprint], z.object({ answer: z.unknown(), same: z.boolean() }));
  if (found === undefined) throw new Refusal('unavailable'); // it expired between the two statements
  if (!found.same) throw new Refusal('idempotency_key_reused');
  return { value: answer.parse(found.answer), replayed: true };
}
