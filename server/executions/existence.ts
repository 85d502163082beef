import { z } from 'zod';
import { Refusal } from '../ground/refusal.js';
import type { Sql } from '../ports/database.js';

const KINDS = {
  venture: { exists: 'rowcast.venture_exists', code: 'unknown_venture' },
  execution: { exists: 'rowcast.execution_exists', code: 'unknown_execution' },
} as const;

/** Refuses what was not found: it is not there, or it is not for this principal. */
export async function refuseUnseen(sql: Sql, kind: keyof typeof KINDS, id: string): Promise<never> {
  const { exists, code } = KINDS[kind];
  const [found] = await sql.query(`SELECT ${exists}($1) AS there`, [id], z.object({ there: z.boolean() }));
  throw found?.there ? new Refusal('forbidden', `no right to do this with this ${kind}`) : new Refusal(code);
}

/** Rejects with `Refusal` (unknown_venture, forbidden) where the principal sees no such venture. */
export async function findVenture(sql: Sql, id: string): Promise<void> {
  const seen = await sql.query('SELECT FROM public.ventures WHERE venture_id = $1', [id], z.unknown());
  if (seen.length === 0) await refuseUnseen(sql, 'venture', id);
}
