import { z } from 'zod';
import { type Check, fault, type Outcome, ok, skipped, warning } from './check.js';
import { holesOf, type Numbering } from './numbering.js';

const trigger = z.object({
  name: z.string(),
  /** The table of the stream, or a partition of it. */
  table: z.string(),
  enabled: z.enum(['O', 'A', 'D', 'R']),
  /** The statements that give the trigger's function what it lacks, as its owner; and whether that one sees all rows. */
  function: z.string(),
  owner: z.string(),
  definer: z.boolean(),
  superuser: z.boolean(),
  seesAll: z.boolean(),
  lacks: z.array(z.string()),
});

const stream = z.object({
  id: z.number(),
  name: z.string(),
  /** Quoted; null where the table was dropped. */
  relation: z.string().nullable(),
  key: z.string(),
  keyType: z.string().nullable(),
  partitioned: z.boolean().nullable(),
  owner: z.string().nullable(),
  role: z.string(),
  forced: z.boolean().nullable(),
  lacks: z.array(z.string()),
  seesAll: z.boolean().nullable(),
  numberIndex: z.string().nullable(),
  txIndex: z.string().nullable(),
  renamed: z.boolean(),
  triggers: z.array(trigger),
});
type Facts = z.infer<typeof stream>;

/** Whether row-level security hides nothing of the table c from a role of that name. */
const seesAll = (role: string) => `(NOT c.relrowsecurity OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = ${role}
  AND (r.rolsuper OR r.rolbypassrls OR pg_has_role(r.oid, c.relowner, 'USAGE'))))`;

/** The rights of VALUES (privilege, kind, object) that a role of that name does not have, as statements. */
const lacks = (role: string, values: string) => `ARRAY(
  SELECT format('GRANT %s ON %s TO %I;', w.privilege, CASE WHEN w.is_schema THEN 'SCHEMA ' ELSE '' END || w.object, ${role}::text)
    FROM (VALUES ${values}) AS w (privilege, is_schema, object)
   WHERE NOT CASE WHEN w.is_schema THEN has_schema_privilege(${role}, trim('"' FROM w.object), w.privilege)
                  ELSE has_table_privilege(${role}, w.object, w.privilege) END)`;

/** Null where the table is gone, which format('%I') would not take. */
const RELATION = `quote_ident(n.nspname) || '.' || quote_ident(c.relname)`;

/** What reading a table takes. */
const READING = `('USAGE', true, quote_ident(n.nspname)), ('SELECT', false, ${RELATION})`;
/** What the functions that number and delete do in the schema rowcast. */
const NUMBERING = `('USAGE', true, 'rowcast'), ('SELECT', false, 'rowcast.channels'),
  ('INSERT', false, 'rowcast.channels'), ('UPDATE', false, 'rowcast.channels')`;

/** An index over these columns first: its state, best first. Only an ordinary table has a unique one. */
const index = (columns: string, unique: string) => `(
  SELECT CASE WHEN i.indisvalid AND i.indisready THEN 'valid' ELSE i.indexrelid::regclass::text END
    FROM pg_index i
   WHERE i.indrelid = c.oid AND i.indpred IS NULL AND (${unique})
     AND (i.indkey::int2[])[0:${columns.split(',').length - 1}] = ARRAY[${columns}]::int2[]
   ORDER BY i.indisvalid AND i.indisready DESC LIMIT 1)`;

const FACTS = `
  SELECT s.stream_id AS id, s.name, ${RELATION} AS relation, quote_ident(s.key_column) AS key,
         k.atttypid::regtype::text AS "keyType", c.relkind = 'p' AS partitioned, quote_ident(o.rolname) AS owner,
         quote_ident(current_user) AS role, c.relforcerowsecurity AS forced,
         CASE WHEN c.oid IS NULL THEN '{}' ELSE ${lacks('current_user', READING)} END AS lacks, ${seesAll('current_user')} AS "seesAll",
         ${index('k.attnum, q.attnum', "i.indisunique OR c.relkind = 'p'")} AS "numberIndex",
         ${index('x.attnum', 'true')} AS "txIndex",
         -- Names that the trigger function has written in.
         EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'rowcast'::regnamespace AND p.proname = s.name || '_number'
                    AND (position((${RELATION}) IN p.prosrc) = 0
                      OR position('NEW.' || quote_ident(s.key_column) IN p.prosrc) = 0)) AS renamed,
         coalesce((
           SELECT json_agg(json_build_object('name', t.tgname, 'table', quote_ident(tn.nspname) || '.' || quote_ident(tc.relname), 'enabled', t.tgenabled, 'function', p.oid::regprocedure,
                    'owner', f.rolname, 'definer', p.prosecdef, 'superuser', f.rolsuper, 'seesAll', ${seesAll('f.rolname')},
                    'lacks', CASE WHEN p.prosecdef AND p.proname LIKE s.name || '\\_%'
                                  THEN ${lacks('f.rolname', `${READING}, ${NUMBERING}`)} ELSE '{}' END))
             FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_roles f ON f.oid = p.proowner
             JOIN pg_class tc ON tc.oid = t.tgrelid JOIN pg_namespace tn ON tn.oid = tc.relnamespace
            WHERE t.tgrelid IN (SELECT c.oid UNION ALL SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = c.oid) AND NOT t.tgisinternal AND t.tgname LIKE 'zz\\_rowcast\\_%'), '[]') AS triggers
    FROM rowcast.streams s
    LEFT JOIN pg_class c ON c.oid = s.relation
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_roles o ON o.oid = c.relowner
    LEFT JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = s.key_column AND NOT k.attisdropped
    LEFT JOIN pg_attribute q ON q.attrelid = c.oid AND q.attname = 'seq' AND NOT q.attisdropped
    LEFT JOIN pg_attribute x ON x.attrelid = c.oid AND x.attname = 'tx' AND NOT x.attisdropped
   ORDER BY s.stream_id`;

/** The triggers that attach makes, and those that it makes besides on a partitioned table. */
export const TRIGGERS = ['floor', 'keep', 'number', 'ring', 'truncated'].map((name) => `zz_rowcast_${name}`);
export const PARTITION_TRIGGERS = ['delete', 'deleted', 'partition'].map((name) => `zz_rowcast_${name}`);

/** One outcome for each thing that is wrong with a stream, and one for a stream that is well. */
export const streams: Check = {
  name: 'streams',
  async run(probe) {
    const all = await probe.read(stream, FACTS);
    if (all.length === 0) return ok('none is attached: npx rowcast attach <table> --key <column>');
    const outcomes: Outcome[] = [];
    for (const facts of all) {
      const { name, relation, keyType, triggers } = facts;
      const wrong = problems(facts);
      if (relation !== null && keyType !== null && facts.lacks.length === 0 && facts.seesAll) {
        const { holes, looked } = await holesOf(probe, { ...facts, relation, keyType } satisfies Numbering).catch(
          (error: Error) => ({
            holes: [skipped(`${name}: its numbers could not be checked: ${error.message}`)],
            looked: 0,
          }),
        );
        wrong.push(...holes);
        if (wrong.length === 0) {
          wrong.push(
            ok(`${name}: ${relation}, ${triggers.length} triggers, indexes, no hole (channels looked at: ${looked})`),
          );
        }
      }
      outcomes.push(...wrong);
    }
    return outcomes;
  },
};

function problems(facts: Facts): Outcome[] {
  const { name, relation, key, keyType, role, owner, triggers } = facts;
  if (relation === null) {
    return [fault(`${name}: its table was dropped`, `SELECT rowcast.detach('${name}');`)];
  }
  const attach = `As the owner ${owner}: SELECT rowcast.attach('${relation.replaceAll("'", "''")}', '${key.replaceAll(/^"|"$/g, '')}');`;
  const wrong: Outcome[] = [];
  const bad = (found: string, fix: string) => wrong.push(fault(`${name}: ${found}`, fix));
  if (keyType === null)
    bad(`${relation} has no column ${key} any more`, 'Attach it again, with the new name of its key.');
  else if (facts.renamed) bad('the table or its key was renamed: INSERTs fail', attach);

  const expected = facts.partitioned ? [...TRIGGERS, ...PARTITION_TRIGGERS] : TRIGGERS;
  const missing = expected.filter(
    (wanted) => !triggers.some((found) => found.table === relation && found.name === wanted),
  );
  if (missing.length > 0) bad(`the triggers ${missing.join(', ')} are missing on ${relation}`, attach);
  for (const { name: off, table, enabled } of triggers.filter(
    (found) => found.enabled === 'D' || found.enabled === 'R',
  )) {
    const how = enabled === 'D' ? 'is disabled' : 'fires only in replication';
    bad(`the trigger ${off} of ${table} ${how}`, `ALTER TABLE ${table} ENABLE TRIGGER ${off};`);
  }
  for (const index of [facts.numberIndex, facts.txIndex].filter((state) => state !== null && state !== 'valid')) {
    bad(`the index ${index} is not valid`, `REINDEX INDEX CONCURRENTLY ${index};`);
  }
  if (facts.numberIndex === null && keyType !== null) {
    const unique = facts.partitioned ? 'INDEX' : 'UNIQUE INDEX';
    bad(
      `${relation} has no ${unique.toLowerCase()} over (${key}, seq)`,
      `CREATE ${unique} ON ${relation} (${key}, seq);`,
    );
  }
  if (facts.txIndex === null) bad(`${relation} has no index over tx`, `CREATE INDEX ON ${relation} (tx);`);
  if (facts.forced) {
    bad(
      'row-level security is forced on the owner, so a number may be given twice',
      `ALTER TABLE ${relation} NO FORCE ROW LEVEL SECURITY;`,
    );
  }
  if (facts.lacks.length > 0) bad(`${role} may not read ${relation}, so nobody gets its events`, facts.lacks.join(' '));
  if (!facts.seesAll) {
    bad(
      `row-level security hides rows of ${relation} from ${role}`,
      `ALTER ROLE ${role} BYPASSRLS; or connect as ${owner}.`,
    );
  }
  return [...wrong, ...ownerProblems(facts)];
}

/** SECURITY DEFINER: the functions number with the rights of whoever attached the table, for as long as it is. */
function ownerProblems({ name, relation, owner, triggers }: Facts): Outcome[] {
  const functions = triggers.filter(
    ({ definer, function: f }) => definer && f.startsWith('rowcast.') && !f.startsWith('rowcast.truncated'),
  );
  const lacking = [...new Set(functions.flatMap((found) => found.lacks))];
  const blind = functions.find((found) => !found.seesAll);
  const foreign = functions.find((found) => found.owner !== owner && !found.superuser);
  const change = functions.map(({ function: f }) => `ALTER FUNCTION ${f} OWNER TO ${owner};`).join(' ');
  if (lacking.length > 0) {
    return [
      fault(`${name}: the triggers run as ${functions[0]?.owner}, who lost rights: INSERTs fail`, lacking.join(' ')),
    ];
  }
  if (blind !== undefined) {
    return [
      fault(
        `${name}: the triggers run as ${blind.owner}, from whom row-level security hides rows of ${relation}: a number may be given twice`,
        change,
      ),
    ];
  }
  if (foreign === undefined) return [];
  return [
    warning(
      `${name}: ${relation} belongs to ${owner}, but its triggers run as ${foreign.owner}, who attached it`,
      change,
    ),
  ];
}
