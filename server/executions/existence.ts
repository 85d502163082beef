import { z } from 'zod';
import type { Sql } from '../ports/database.js';
import { Refusal } from '../refusal.js';

const KINDS = {
  venture: { exists: 'rowcast.venture_exists', code: 'unknown_venture' },
  execution: { exists: 'rowcast.execution_exists', code: 'unknown_execution' },
} as const;

/** Refuses what was not found: it is not there, or it is not for this principal. */
export async function refuseUnseen(sql: Sql, kind: keyof typeof KINDS, id: string): Promise<never> {
  const { exists, code } = KINDS[kind];
  const [found] = await sql.query(`SELECT ${exists}($1) AS there`, [id], z.object({ there: z.boolean() }));
  throw found?.there ? new Refusal('forbidden', `this ${kind} is not for this principal`) : new Refusal(code);
}
