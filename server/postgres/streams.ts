/**
 * The streams as the system catalogs describe them: the statement that reads all attached tables with their columns and problems,
 * and the rules for the names of channels.
 */
import { z } from 'zod';
import { Refusal } from '../ground/refusal.js';

const KEY_TYPES = ['uuid', 'text', 'varchar', 'int2', 'int4', 'int8'] as const;

/** A stream as the catalog describes it. SQL names are quoted and ready to use. */
export const streamRow = z.object({
  id: z.number().int(),
  name: z.string(),
  epoch: z.string(),
  relation: z.string(),
  key: z.string(),
  key_type: z.enum(KEY_TYPES),
  /** The columns that attach has added, with the number of the event and of its transaction. */
  seq: z.string(),
  tx: z.string(),
  columns: z.array(z.string()),
  /** Text and bytea columns, whose length PostgreSQL knows without reading TOASTed values. */
  text_columns: z.array(z.string()),
  binary_columns: z.array(z.string()),
  /** Other columns of variable length, whose size on disk is known. None of the lists contains virtual generated columns. */
  other_columns: z.array(z.string()),
  /** Whether its events are the changes of a tracked table. */
  tracked: z.boolean(),
  parent: z.string().nullable(),
  parent_key: z.string().nullable(),
  /** Why its seqs cannot be read, as far as the system catalogs show; null if there is no problem. */
  problem: z.string().nullable(),
});
export type Stream = Readonly<z.infer<typeof streamRow>>;

/** SQL: the quoted names of columns that meet a condition on the attribute `a` and its type `y`. */
const columns = (condition: string) => `ARRAY(
           SELECT quote_ident(a.attname) FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname NOT IN (s.seq_column, s.tx_column)
              AND ${condition} ORDER BY a.attnum)`;

/** SQL: the type of a column, or the base type of its domain. */
const TYPE = "CASE y.typtype WHEN 'd' THEN y.typbasetype ELSE y.oid END";
const TEXT = `${TYPE} IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype)`;
const STORED = "y.typlen = -1 AND a.attgenerated <> 'v'";

/**
 * Selects every attached table that still exists, including those that cannot be read, with their problem. `parent` is the table
 * that the key refers to, if there is one.
 */
export const STREAMS = `
  SELECT s.stream_id AS id, s.name, s.epoch, format('%I.%I', n.nspname, c.relname) AS relation,
         quote_ident(s.key_column) AS key,
         CASE WHEN t.typname IN (${KEY_TYPES.map((type) => `'${type}'`).join(', ')}) THEN t.typname ELSE 'text' END AS key_type,
         quote_ident(s.seq_column) AS seq, quote_ident(s.tx_column) AS tx,
         ${columns('true')} AS columns,
         ${columns(`${STORED} AND ${TEXT}`)} AS text_columns,
         ${columns(`${STORED} AND ${TYPE} = 'bytea'::regtype`)} AS binary_columns,
         ${columns(`${STORED} AND NOT (${TEXT} OR ${TYPE} = 'bytea'::regtype)`)} AS other_columns,
         EXISTS (SELECT FROM rowcast.tracks k WHERE k.stream_id = s.stream_id) AS tracked,
         p.relation AS parent, p.key AS parent_key,
         CASE
           WHEN NOT has_schema_privilege(n.oid, 'USAGE')
             THEN format('permission denied for schema %s', n.nspname)
           WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN format('permission denied for table %s', c.relname)
           WHEN k.attname IS NULL THEN format('the key column %s does not exist', s.key_column)
           WHEN t.typname NOT IN (${KEY_TYPES.map((type) => `'${type}'`).join(', ')})
             THEN format('the key column %s has the type %s', s.key_column, t.typname)
           WHEN numbers.seq IS DISTINCT FROM 'int8'::regtype THEN format('the column %s does not exist, or is not a bigint', s.seq_column)
           WHEN numbers.tx IS DISTINCT FROM 'xid8'::regtype THEN format('the column %s does not exist, or is not an xid8', s.tx_column)
         END AS problem
    FROM rowcast.streams s
    JOIN pg_catalog.pg_class c ON c.oid = s.relation
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute k ON k.attrelid = c.oid AND k.attname = s.key_column AND NOT k.attisdropped
    LEFT JOIN pg_catalog.pg_type t ON t.oid = k.atttypid
    CROSS JOIN LATERAL (
      SELECT max(a.atttypid) FILTER (WHERE a.attname = s.seq_column) AS seq, max(a.atttypid) FILTER (WHERE a.attname = s.tx_column) AS tx
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped) numbers
    LEFT JOIN LATERAL (
      SELECT format('%I.%I', pn.nspname, pc.relname) AS relation, quote_ident(pk.key) AS key
        FROM rowcast.parent_of(s) pk
        JOIN pg_class pc ON pc.oid = pk.relation
        JOIN pg_namespace pn ON pn.oid = pc.relnamespace
       WHERE has_column_privilege(pc.oid, pk.key, 'SELECT') AND has_schema_privilege(pn.oid, 'USAGE')) p ON true
   ORDER BY s.stream_id`;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const INTEGER = /^(0|-?[1-9]\d{0,18})$/;
const BITS = { int2: 16, int4: 32, int8: 64 };

/** Splits `<stream>:<key>`. Throws `Refusal` (invalid_channel). */
export function splitChannel(channel: string): { stream: string; key: string } {
  const [, stream, key] = /^([a-z][a-z0-9_-]{0,39}):(.+)$/s.exec(channel) ?? [];
  if (stream === undefined || key === undefined) {
    throw new Refusal('invalid_channel', 'a channel is written <stream>:<key>, for example message:lobby');
  }
  return { stream, key };
}

/** Throws `Refusal` (invalid_channel) unless the key is written as PostgreSQL prints it, so that a channel has only one name. */
export function checkKey({ name, key_type: type }: Stream, key: string): void {
  if (type === 'uuid') {
    if (!UUID.test(key))
      throw new Refusal('invalid_channel', `a key of ${name} must be a uuid in lower case, 8-4-4-4-12 digits`);
  } else if (type === 'int2' || type === 'int4' || type === 'int8') {
    const fits = INTEGER.test(key) && BigInt.asIntN(BITS[type], BigInt(key)) === BigInt(key);
    if (!fits)
      throw new Refusal(
        'invalid_channel',
        `a key of ${name} must be an integer of ${BITS[type]} bits without leading zeros`,
      );
  } else if (/\0|\p{Surrogate}/u.test(key)) {
    throw new Refusal('invalid_channel', 'a key must be well-formed Unicode without NUL characters');
  }
}
