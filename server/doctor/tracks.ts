/**
 * The check `tracks`: whether the triggers of each tracked table are there and enabled, and written for the table as it is now,
 * and whether it could still be tracked so: its policies may be others since.
 */
import pg from 'pg';
import { z } from 'zod';
import { type Check, fault, type Outcome, ok, type Probe, warning } from './check.js';

const trigger = z.object({ name: z.string(), table: z.string(), enabled: z.enum(['O', 'A', 'D', 'R']).nullable() });

const track = z.object({
  name: z.string(),
  /** Quoted; null if the table was dropped. */
  relation: z.string().nullable(),
  /** Whether the columns of the key and of the identity are there. */
  identified: z.boolean(),
  current: z.boolean(),
  /** Those that it needs; `enabled` is null for one that is missing. */
  triggers: z.array(trigger),
});
type Track = z.infer<typeof track>;

/** Partitions have a copy of the trigger for each row, and one for TRUNCATE of their own. */
const TRACKS = `
  SELECT s.name, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation,
         (t.key IS NULL OR rowcast.column_names(t.relation, ARRAY[t.key]) IS NOT NULL)
           AND cardinality(rowcast.column_names(t.relation, t.identity)) IS NOT DISTINCT FROM cardinality(t.identity) AS identified,
         t.shape = rowcast.shape_of(t.relation) AS current,
         (SELECT coalesce(json_agg(json_build_object('name', quote_ident(w.name), 'table', w.relation::text, 'enabled', g.tgenabled)
                   ORDER BY w.name, w.relation::text), '[]')
            FROM (SELECT 'rowcast_' || s.name, c.oid::regclass UNION SELECT 'rowcast_truncated', c.oid::regclass
                  UNION SELECT k.name, p.oid::regclass FROM rowcast.storage_of(c.oid) p, (VALUES ('rowcast_' || s.name), ('rowcast_truncated')) k(name)
              ) w(name, relation)
            LEFT JOIN pg_trigger g ON g.tgrelid = w.relation AND g.tgname = w.name
           WHERE w.relation IS NOT NULL) AS triggers
    FROM rowcast.tracks t JOIN rowcast.streams s USING (stream_id)
    LEFT JOIN pg_class c ON c.oid = t.relation LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
   ORDER BY s.name COLLATE "C"`;

export const tracks: Check = {
  name: 'tracks',
  async run(probe) {
    const all = await probe.readAsGateway(track, TRACKS);
    if (all.length === 0) return ok('no table is tracked');
    const outcomes: Outcome[] = [];
    for (const each of all) {
      const found = outcomesOf(each);
      const refusal = found.every(({ verdict }) => verdict === 'ok') ? await refusalOf(probe, each.name) : null;
      outcomes.push(...(refusal === null ? found : [refusal]));
    }
    return outcomes;
  },
};

/** What `rowcast.track` would say of the table as it is now. */
async function refusalOf(probe: Probe, name: string): Promise<Outcome | null> {
  const sql = `SELECT rowcast.check_trackable(t, s.guard IS NOT NULL) FROM rowcast.tracks t JOIN rowcast.streams s USING (stream_id) WHERE s.name = $1`;
  try {
    await probe.readAsGateway(z.object({}), sql, [name]);
    return null;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return fault(`${name}: ${error.message}`, error.hint ?? `SELECT rowcast.untrack('${name}');`);
  }
}

function outcomesOf({ name, relation, identified, current, triggers }: Track): Outcome[] {
  const untrack = `SELECT rowcast.untrack('${name}');`;
  if (relation === null) return [fault(`${name}: its table was dropped`, untrack)];
  if (!identified) {
    const found = `${name}: a column of the key or of the identity was dropped from ${relation}: its changes fail`;
    return [fault(found, `${untrack} And track it again, by another key.`)];
  }
  // What was changed without the triggers is no event: followers have to take a new snapshot.
  const anew = `SELECT rowcast.new_epoch('${name}');`;
  const wrong: Outcome[] = [];
  const missing = triggers.filter(({ enabled }) => enabled === null);
  if (missing.length > 0) {
    const names = missing.map((each) => `${each.name} of ${each.table}`).join(', ');
    const again = `SELECT rowcast.make_track_triggers(s) FROM rowcast.streams s WHERE s.name = '${name}';`;
    wrong.push(fault(`${name}: the triggers are missing: ${names}`, `${again} ${anew}`));
  }
  for (const { name: off, table } of triggers.filter(({ enabled }) => enabled === 'D' || enabled === 'R')) {
    const found = `${name}: the trigger ${off} of ${table} does not fire`;
    wrong.push(fault(found, `ALTER TABLE ${table} ENABLE TRIGGER ${off}; ${anew}`));
  }
  if (!current) {
    const found = `${name}: ${relation} has other columns or partitions than its triggers were written for`;
    wrong.push(warning(found, 'SELECT rowcast.renew_tracks();'));
  }
  return wrong.length > 0 ? wrong : [ok(`${name}: ${relation}, ${triggers.length} triggers`)];
}
