import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import type { Sql } from '../../ports/database.js';

const KINDS = {
  venture: { exists: 'rowcast.venture_exists', code: 'unknown_venture' },
  execution: { exists: 'rowcast.execution_exists', code: 'unknown_execution' },
} as const;

async function exists(sql: Sql, kind: keyof typeof KINDS, id: string): Promise<boolean> {
  const text = `SELECT ${KINDS[kind].exists}($1) AS there`;
  const [found] = await sql.query(text, [id], z.object({ there: z.boolean() }));
  return found?.there ?? false;
}

/** Refuses what was not found: it is not there, or it is not for this principal. */
export async function refuseUnseen(sql: Sql, kind: keyof typeof KINDS, id: string): Promise<never> {
  if (!(await exists(sql, kind, id))) throw new Refusal(KINDS[kind].code);
  throw new Refusal('forbidden', `no right to do this with this ${kind}`);
}

const SEES_VENTURE = `SELECT rowcast.can_read('venture:' || $1::text) AS seen, pg_has_role('service_role', 'USAGE') AS service`;
const seesVenture = z.object({ seen: z.boolean(), service: z.boolean() });

/** Rejects with `Refusal` (unknown_venture, forbidden) where the principal may not read the channel of such a venture. */
export async function findVenture(sql: Sql, id: string): Promise<void> {
  const [found] = await sql.query(SEES_VENTURE, [id], seesVenture);
  if (found?.service && !(await exists(sql, 'venture', id))) throw new Refusal('unknown_venture'); // it may read them all
  if (!found?.seen) await refuseUnseen(sql, 'venture', id);
}
