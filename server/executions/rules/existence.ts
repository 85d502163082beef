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

/** Refuses an id that was not found: as unknown if it does not exist, as forbidden if the principal may not see it. Always rejects. */
export async function refuseUnseen(sql: Sql, kind: keyof typeof KINDS, id: string): Promise<never> {
  if (!(await exists(sql, kind, id))) throw new Refusal(KINDS[kind].code);
  throw new Refusal('forbidden', `you are not allowed to do this with this ${kind}`);
}

const SEES_VENTURE = `SELECT rowcast.can_read('venture:' || $1::text) AS seen, pg_has_role('service_role', 'USAGE') AS service`;
const seesVenture = z.object({ seen: z.boolean(), service: z.boolean() });

/** Rejects with `Refusal` (unknown_venture, forbidden) if the principal may not read the channel of the venture. */
export async function findVenture(sql: Sql, id: string): Promise<void> {
  const [found] = await sql.query(SEES_VENTURE, [id], seesVenture);
  if (found?.service && !(await exists(sql, 'venture', id))) throw new Refusal('unknown_venture'); // a service may read every channel, so that `seen` does not prove existence
  if (!found?.seen) await refuseUnseen(sql, 'venture', id);
}
