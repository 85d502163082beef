/**
 * The streams of a database as a TypeScript interface: the rows of their events as PostgreSQL writes them in JSON. The
 * statement asks the catalog what PostgreSQL goes by in row_to_json; what becomes of it in TypeScript is below.
 */
import type pg from 'pg';
import { z } from 'zod';

const column = z.object({
  name: z.string(),
  json: z.enum(['boolean', 'number', 'string', 'enum', 'object', 'unknown']),
  labels: z.array(z.string()),
  /** Of an array: the declared number of dimensions, and whether elements may be null. Else 0. */
  dimensions: z.number(),
  nullableElements: z.boolean(),
  nullable: z.boolean(),
  comment: z.string().nullable(),
});
type Column = z.infer<typeof column>;

const stream = z.object({ name: z.string(), tracked: z.boolean(), columns: z.array(column) });
export type StreamColumns = z.infer<typeof stream>;

/** SQL. `resolved`: each type, and what it is below its domains. Of an array the elements are resolved as well. */
const STREAMS = `
  WITH RECURSIVE steps(oid, base, required, dimensions) AS (
    SELECT t.oid, t.oid, false, 0 FROM pg_type t
    UNION ALL
    SELECT s.oid, d.typbasetype, s.required OR d.typnotnull, greatest(s.dimensions, d.typndims)
      FROM steps s JOIN pg_type d ON d.oid = s.base AND d.typtype = 'd'
  ), resolved AS (
    SELECT s.oid, s.required, s.dimensions, b.oid AS base, b.typtype,
           CASE WHEN b.typsubscript = 'array_subscript_handler'::regproc THEN b.typelem ELSE 0 END AS element
      FROM steps s JOIN pg_type b ON b.oid = s.base WHERE b.typtype <> 'd'
  )
  SELECT s.name, t.stream_id IS NOT NULL AS tracked, (
    SELECT coalesce(json_agg(json_build_object(
        'name', a.attname,
        'json', CASE
          WHEN v.base = 'bool'::regtype THEN 'boolean'
          WHEN v.base = ANY ('{int2,int4,int8,float4,float8,numeric}'::regtype[]) THEN 'number'
          WHEN v.base IN ('json'::regtype, 'jsonb'::regtype) OR EXISTS (
            SELECT FROM pg_cast k WHERE k.castsource = v.base AND k.casttarget = 'json'::regtype AND k.castfunc <> 0) THEN 'unknown'
          WHEN v.typtype = 'e' THEN 'enum'
          WHEN v.typtype = 'c' THEN 'object'
          ELSE 'string' END,
        'labels', ARRAY(SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = v.base ORDER BY e.enumsortorder),
        'dimensions', CASE WHEN c.element = 0 THEN 0 ELSE greatest(a.attndims, c.dimensions, 1) END,
        'nullableElements', c.element <> 0 AND NOT v.required,
        'nullable', NOT (a.attnotnull OR c.required),
        'comment', col_description(a.attrelid, a.attnum)) ORDER BY a.attnum), '[]')
      FROM pg_attribute a
      JOIN resolved c ON c.oid = a.atttypid
      JOIN resolved v ON v.oid = CASE WHEN c.element = 0 THEN c.oid ELSE c.element END
     WHERE a.attrelid = coalesce(t.relation, s.relation) AND a.attnum > 0 AND NOT a.attisdropped
       AND CASE WHEN t.stream_id IS NULL THEN a.attname NOT IN (s.seq_column, s.tx_column)
                ELSE t.columns IS NULL OR a.attnum = ANY (t.columns) END) AS columns
    FROM rowcast.streams s LEFT JOIN rowcast.tracks t USING (stream_id)
   WHERE EXISTS (SELECT FROM pg_class r WHERE r.oid = coalesce(t.relation, s.relation))
   ORDER BY s.name COLLATE "C"`;

/** Reads the streams whose tables are there. */
export async function readStreamColumns(client: pg.ClientBase): Promise<StreamColumns[]> {
  return stream.array().parse((await client.query(STREAMS)).rows);
}

/** Returns a module that exports the type `Streams`. Throws `Error` if a comment does not name a type in the way that it must. */
export function streamTypes(streams: readonly StreamColumns[]): string {
  const members = streams.map(({ name, tracked, columns }) => {
    const fields = columns.map((each) => `    readonly ${keyOf(each.name)}: ${typeOf(name, each)};\n`);
    const row = `{\n${fields.join('')}  }`;
    return `  ${keyOf(name)}: ${tracked ? `Change<${row}>` : row};\n`;
  });
  return [
    '/** Written by `rowcast types`: run it again when the tables have changed. */',
    ...(streams.some(({ tracked }) => tracked) ? ["import type { Change } from '@rowcast/client/follow';", ''] : []),
    `export interface Streams {\n${members.join('')}}`,
  ].join('\n');
}

const keyOf = (name: string) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : quoted(name));

/** As a literal of TypeScript in one line, whatever the name contains. */
const quoted = (text: string) => JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029]/g, escaped);
const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

const TYPES = { boolean: 'boolean', number: 'number', string: 'string', object: 'Readonly<Record<string, unknown>>' };

function typeOf(stream: string, column: Column): string {
  const named = namedType(stream, column);
  if (named !== undefined) return orNull(named, column.nullable);
  let type = column.json === 'unknown' ? 'unknown' : column.json === 'enum' ? union(column.labels) : TYPES[column.json];
  for (let depth = 0; depth < column.dimensions; depth += 1) {
    // Only the innermost elements may be null.
    const element = orNull(type, depth === 0 && column.nullableElements);
    type = `readonly ${/^[\w.]+$/.test(element) ? element : `(${element})`}[]`;
  }
  return orNull(type, column.nullable);
}

const union = (labels: readonly string[]) => (labels.length === 0 ? 'never' : labels.map(quoted).join(' | '));
const orNull = (type: string, nullable: boolean) => (nullable && type !== 'unknown' ? `${type} | null` : type);

/** A type that the comment of a column names, in the form of JSDoc. It is a name, so that a comment cannot become code. */
const NAMED = /@type \{((?:import\('[\w@./-]+'\)\.)?[A-Za-z_$][\w$]*)\}/;

function namedType(stream: string, { name, comment }: Column): string | undefined {
  if (comment === null || !comment.includes('@type {')) return undefined;
  const type = NAMED.exec(comment)?.[1];
  if (type !== undefined) return type;
  throw new Error(
    `${stream}: the comment of column ${name} must name a type as @type {Name} or @type {import(…).Name}, without parameters`,
  );
}
