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
  columns: z.array(z.string()).min(1),
  parent: z.string().nullable(),
  parent_key: z.string().nullable(),
});
export type Stream = Readonly<z.infer<typeof streamRow>>;

/** Every attached table that still exists and may be read: one that fails would fail the reads of all. `parent` is the table that the key refers to, if it refers to one. */
export const STREAMS = `
  SELECT s.stream_id AS id, s.name, s.epoch, format('%I.%I', n.nspname, c.relname) AS relation,
         quote_ident(s.key_column) AS key, t.typname AS key_type,
         ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname NOT IN ('seq', 'tx')
               ORDER BY a.attnum) AS columns,
         p.relation AS parent, p.key AS parent_key
    FROM rowcast.streams s
    JOIN pg_class c ON c.oid = s.relation
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = s.key_column
    JOIN pg_type t ON t.oid = k.atttypid
    LEFT JOIN LATERAL (
      SELECT format('%I.%I', pn.nspname, pc.relname) AS relation, quote_ident(pk.key) AS key
        FROM rowcast.parent_of(s) pk
        JOIN pg_class pc ON pc.oid = pk.relation
        JOIN pg_namespace pn ON pn.oid = pc.relnamespace
       WHERE has_column_privilege(pc.oid, pk.key, 'SELECT') AND has_schema_privilege(pn.oid, 'USAGE')) p ON true
   WHERE has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
   ORDER BY s.stream_id`;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const INTEGER = /^(0|-?[1-9]\d{0,18})$/;
const BITS = { int2: 16, int4: 32, int8: 64 };

/** The two halves of `<stream>:<key>`. Throws `Refusal` (invalid_channel). */
export function splitChannel(channel: string): { stream: string; key: string } {
  const [, stream, key] = /^([a-z][a-z0-9_-]{0,39}):(.+)$/s.exec(channel) ?? [];
  if (stream === undefined || key === undefined) {
    throw new Refusal('invalid_channel', 'a channel is written <stream>:<key>, for example message:lobby');
  }
  return { stream, key };
}

/** One channel has one name: the key as Postgres prints it. Throws `Refusal` (invalid_channel) for any other spelling. */
export function checkKey({ name, key_type: type }: Stream, key: string): void {
  if (type === 'uuid') {
    if (!UUID.test(key))
      throw new Refusal('invalid_channel', `a key of ${name} is a uuid in lower case, 8-4-4-4-12 digits`);
  } else if (type === 'int2' || type === 'int4' || type === 'int8') {
    const fits = INTEGER.test(key) && BigInt.asIntN(BITS[type], BigInt(key)) === BigInt(key);
    if (!fits)
      throw new Refusal(
        'invalid_channel',
        `a key of ${name} is an integer of ${BITS[type]} bits without leading zeros`,
      );
  } else if (/\0|\p{Surrogate}/u.test(key)) {
    throw new Refusal('invalid_channel', 'a key is well-formed Unicode without NUL characters');
  }
}
