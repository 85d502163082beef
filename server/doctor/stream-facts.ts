import { z } from 'zod';
import { appliesTo, lacks, seesAll } from './privileges.js';

const trigger = z.object({
  name: z.string(),
  /** The table of the stream, or a partition of it. */
  table: z.string(),
  enabled: z.enum(['O', 'A', 'D', 'R']),
  /** The function of the trigger, and its owner. */
  function: z.string(),
  owner: z.string(),
  definer: z.boolean(),
  superuser: z.boolean(),
  /** Whether row-level security hides no row of the table from the owner of the function. */
  seesAll: z.boolean(),
  /** The GRANT statements for rights that the owner of the function lacks. */
  lacks: z.array(z.string()),
});

/** The facts about a stream in the system catalogs; `role` is the role that reads them. */
export const stream = z.object({
  id: z.number(),
  name: z.string(),
  /** Quoted; null if the table was dropped. */
  relation: z.string().nullable(),
  key: z.string(),
  seq: z.string(),
  tx: z.string(),
  keyType: z.string().nullable(),
  /** Whether both columns are there, and of their types. */
  numbered: z.boolean(),
  partitioned: z.boolean().nullable(),
  owner: z.string().nullable(),
  role: z.string(),
  forced: z.boolean().nullable(),
  lacks: z.array(z.string()),
  seesAll: z.boolean().nullable(),
  /** Restrictive policies, which hide rows whatever the permissive ones allow. */
  hiding: z.array(z.string()),
  /** The table that the key refers to, if the gateway cannot see all of its keys; otherwise null. */
  hiddenParent: z.string().nullable(),
  numberIndex: z.string().nullable(),
  txIndex: z.string().nullable(),
  renamed: z.boolean(),
  /** Tables and partitions that a crash would empty; child tables, whose rows get no numbers. */
  unlogged: z.array(z.string()),
  children: z.array(z.string()),
  /** Triggers that fire after those of Rowcast. */
  later: z.array(z.object({ name: z.string(), relation: z.string(), mend: z.string() })),
  /** What lacks a replica identity, beside a publication that publishes updates or deletes. */
  unpublishable: z.array(z.string()),
  /** References of the key that PostgreSQL does not check. */
  unenforced: z.array(z.string()),
  /** Rows that were inserted and updated since the statistics begin. */
  inserted: z.number(),
  updated: z.number(),
  triggers: z.array(trigger),
  /** The statement that tracks the table again whose changes these are; null if it is not such a stream. */
  trackAgain: z.string().nullable(),
});
export type Facts = z.infer<typeof stream>;

export const copy = z.object({ relation: z.string(), seq: z.string(), tx: z.string() });

/** Selects tables that have the two columns of a stream without being one, or a partition of one: LIKE and dumps copy them. */
export const COPIES = `
  SELECT DISTINCT ON (c.oid) quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation, quote_ident(q.attname) AS seq, quote_ident(x.attname) AS tx
    FROM (SELECT seq_column, tx_column FROM rowcast.streams UNION SELECT 'seq', 'tx') s(seq, tx)
    JOIN pg_attribute x ON x.attname = s.tx AND x.atttypid = 'xid8'::regtype AND x.attnum > 0 AND NOT x.attisdropped
    JOIN pg_attribute q ON q.attrelid = x.attrelid AND q.attname = s.seq AND q.atttypid = 'int8'::regtype AND q.attnum > 0 AND NOT q.attisdropped
    JOIN pg_class c ON c.oid = x.attrelid AND c.relkind IN ('r', 'p')
    JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE NOT EXISTS (SELECT FROM rowcast.streams a WHERE a.relation IN (c.oid, pg_partition_root(c.oid)))
     AND NOT EXISTS (SELECT FROM pg_inherits i JOIN rowcast.streams a ON a.relation = i.inhparent WHERE i.inhrelid = c.oid)
   ORDER BY c.oid`;

/** Null if the table was dropped; format('%I') would fail. */
const RELATION = `quote_ident(n.nspname) || '.' || quote_ident(c.relname)`;

/** The rights to read a table. */
const READING = `('USAGE', true, quote_ident(n.nspname)), ('SELECT', false, ${RELATION})`;
/** The rights that the trigger functions need in the schema rowcast. */
const NUMBERING = `('USAGE', true, 'rowcast'), ('SELECT', false, 'rowcast.channels'),
  ('INSERT', false, 'rowcast.channels'), ('UPDATE', false, 'rowcast.channels')`;

/** SQL: the state of the best index that begins with these columns. `unique` is a condition that the index must meet. */
const index = (columns: string, unique: string) => `(
  SELECT CASE WHEN i.indisvalid AND i.indisready THEN 'valid' ELSE i.indexrelid::regclass::text END
    FROM pg_index i
   WHERE i.indrelid = c.oid AND i.indpred IS NULL AND (${unique})
     AND (i.indkey::int2[])[0:${columns.split(',').length - 1}] = ARRAY[${columns}]::int2[]
   ORDER BY i.indisvalid AND i.indisready DESC LIMIT 1)`;

/** SQL: a count of the statistics, over all partitions. */
const counted = (what: string) =>
  `(SELECT coalesce(sum(pg_stat_get_tuples_${what}(h.oid)), 0)::float8 FROM rowcast.storage_of(c.oid) h) AS ${what}`;

/** SQL, of a row `t` of rowcast.tracks and the `s` of its stream. What it leaves out is kept, or what it was by default. */
const TRACK_AGAIN = `format('SELECT rowcast.track(%L', t.relation::regclass) || concat(
    format(', key => %L', (rowcast.column_names(t.relation, ARRAY[t.key]))[1]), format(', name => %L', s.name),
    CASE WHEN t.columns IS NOT NULL THEN format(', columns => %L', rowcast.column_names(t.relation, t.columns)) END, format(', old => %L', t.old),
    (SELECT format(', keep => %L', r.keep) FROM rowcast.retention r WHERE r.stream_id = t.stream_id),
    format(', identity => %L', rowcast.column_names(t.relation, t.identity))) || ');'`;

/** Run as the gateway, so that `lacks` lists what `current_user` lacks. */
export const FACTS = `
  SELECT s.stream_id AS id, s.name, ${RELATION} AS relation, quote_ident(s.key_column) AS key, quote_ident(s.seq_column) AS seq, quote_ident(s.tx_column) AS tx,
         k.atttypid::regtype::text AS "keyType",
         coalesce(q.atttypid = 'int8'::regtype AND x.atttypid = 'xid8'::regtype, false) AS numbered, c.relkind = 'p' AS partitioned, quote_ident(o.rolname) AS owner,
         quote_ident(current_user) AS role, c.relforcerowsecurity AS forced,
         CASE WHEN c.oid IS NULL THEN '{}' ELSE ${lacks('current_user', READING)} END AS lacks, ${seesAll('current_user')} AS "seesAll",
         ARRAY(SELECT quote_ident(p.polname) FROM pg_policy p WHERE c.relrowsecurity AND NOT p.polpermissive AND ${appliesTo('current_user', 'c')} ORDER BY 1) AS hiding,
         (SELECT h.oid::regclass::text FROM rowcast.parent_of(s) r JOIN pg_class h ON h.oid = r.relation
           WHERE NOT (has_schema_privilege(h.relnamespace, 'USAGE') AND has_column_privilege(h.oid, r.key, 'SELECT') AND ${seesAll('current_user', 'h')})) AS "hiddenParent",
         ${index('k.attnum, q.attnum', "i.indisunique OR c.relkind = 'p'")} AS "numberIndex",
         ${index('x.attnum', 'true')} AS "txIndex",
         -- The trigger function contains the names of the table and its columns.
         EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'rowcast'::regnamespace AND p.proname = s.name || '_number'
                    AND (position((${RELATION}) IN p.prosrc) = 0
                      OR EXISTS (SELECT FROM unnest(ARRAY[s.key_column, s.seq_column, s.tx_column]) named
                                  WHERE position('NEW.' || quote_ident(named) IN p.prosrc) = 0))) AS renamed,
         ARRAY(SELECT h.oid::regclass::text FROM rowcast.storage_of(c.oid) h WHERE h.relpersistence = 'u' ORDER BY 1) AS unlogged,
         ARRAY(SELECT i.inhrelid::regclass::text FROM pg_inherits i WHERE i.inhparent = c.oid AND c.relkind = 'r' ORDER BY 1) AS children,
         (SELECT coalesce(json_agg(l), '[]') FROM rowcast.later_triggers(c.oid) l) AS later,
         ARRAY(SELECT h.oid::regclass::text FROM rowcast.storage_of(c.oid) h
                WHERE NOT rowcast.has_identity(h.oid) AND EXISTS (
                  SELECT FROM pg_publication u WHERE (u.pubupdate OR u.pubdelete)
                     AND EXISTS (SELECT FROM pg_get_publication_tables(u.pubname) g WHERE g.relid IN (h.oid, c.oid))) ORDER BY 1) AS unpublishable,
         -- A column that PostgreSQL has since 18.
         ARRAY(SELECT quote_ident(f.conname) FROM pg_constraint f WHERE f.contype = 'f' AND f.conrelid = c.oid
                  AND f.conkey = ARRAY[k.attnum] AND to_jsonb(f) ->> 'conenforced' = 'false' ORDER BY 1) AS unenforced,
         ${counted('inserted')}, ${counted('updated')},
         coalesce((
           SELECT json_agg(json_build_object('name', t.tgname, 'table', quote_ident(tn.nspname) || '.' || quote_ident(tc.relname), 'enabled', t.tgenabled, 'function', p.oid::regprocedure,
                    'owner', f.rolname, 'definer', p.prosecdef, 'superuser', f.rolsuper, 'seesAll', ${seesAll('f.rolname')},
                    'lacks', CASE WHEN p.prosecdef AND p.proname LIKE s.name || '\\_%'
                                  THEN ${lacks('f.rolname', `${READING}, ${NUMBERING}`)} ELSE '{}' END))
             FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_roles f ON f.oid = p.proowner
             JOIN pg_class tc ON tc.oid = t.tgrelid JOIN pg_namespace tn ON tn.oid = tc.relnamespace
            WHERE t.tgrelid IN (SELECT c.oid UNION ALL SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = c.oid) AND NOT t.tgisinternal AND t.tgname LIKE 'zz\\_rowcast\\_%'), '[]') AS triggers,
         (SELECT ${TRACK_AGAIN} FROM rowcast.tracks t WHERE t.stream_id = s.stream_id) AS "trackAgain"
    FROM rowcast.streams s
    LEFT JOIN pg_class c ON c.oid = s.relation
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_roles o ON o.oid = c.relowner
    LEFT JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = s.key_column AND NOT k.attisdropped
    LEFT JOIN pg_attribute q ON q.attrelid = c.oid AND q.attname = s.seq_column AND NOT q.attisdropped
    LEFT JOIN pg_attribute x ON x.attrelid = c.oid AND x.attname = s.tx_column AND NOT x.attisdropped
   ORDER BY s.stream_id`;
