/**
 * What the migrations of a set made and is not in the database any more, because it was dropped beside Rowcast: by
 * `DROP SCHEMA public CASCADE`, for example. The files themselves say what they make.
 */
import type pg from 'pg';
import { z } from 'zod';
import { inSchema } from '../ground/in-schema.js';
import type { InstalledExtension } from './extensions.js';
import { CORE, type Migration, migrationsOf } from './sql-sets.js';

const KINDS = ['table', 'function', 'type'] as const;

const object = z.object({ kind: z.enum(KINDS), name: z.string() });
export type SqlObject = z.output<typeof object>;

/** At the beginning of a line: what is indented is made under a condition, or by a function. */
const CREATE =
  /^CREATE (?:UNLOGGED )?(TABLE|FUNCTION|TYPE) (?:IF NOT EXISTS )?((?:"[^"]+"|[\w$]+)\.(?:"[^"]+"|[\w$]+))/gm;

/** The tables, functions and types that migrations make, named as SQL names them. */
export function objectsOf(migrations: readonly Migration[], schema: string): SqlObject[] {
  return migrations.flatMap(({ sql }) =>
    [...inSchema(sql, schema).matchAll(CREATE)].map(([, kind = '', name = '']) =>
      object.parse({ kind: kind.toLowerCase(), name }),
    ),
  );
}

/** Selects those of the objects ($1: kinds, $2: names) that do not exist. It needs no right to them. */
export const MISSING = `
  SELECT o.kind, o.name FROM unnest($1::text[], $2::text[]) o(kind, name)
   CROSS JOIN LATERAL parse_ident(o.name) p(parts) LEFT JOIN pg_namespace n ON n.nspname = p.parts[1]
   WHERE NOT CASE o.kind
     WHEN 'table' THEN EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = p.parts[2])
     WHEN 'type' THEN EXISTS (SELECT FROM pg_type t WHERE t.typnamespace = n.oid AND t.typname = p.parts[2])
     ELSE EXISTS (SELECT FROM pg_proc f WHERE f.pronamespace = n.oid AND f.proname = p.parts[2]) END`;

type Read = (sql: string, values: unknown[]) => Promise<unknown[]>;

export interface Missing {
  readonly set: string;
  readonly objects: readonly SqlObject[];
  /** Whether none of the set's own tables is left, so that no data would be lost by making them again. */
  readonly allTables: boolean;
}

/** `ran`: the migrations that the database has run. Sets that miss nothing are left out. */
export async function missingObjects(
  read: Read,
  extensions: readonly Pick<InstalledExtension, 'name' | 'schema' | 'adopted'>[],
  ran: ReadonlySet<string>,
): Promise<Missing[]> {
  const all: Missing[] = [];
  for (const { name: set, schema, adopted } of [{ name: CORE, schema: '', adopted: [] }, ...extensions]) {
    const theirs = new Set(adopted.map((table) => `${schema}.${table}`));
    const files = migrationsOf(set).filter(({ name }) => ran.has(name));
    const wanted = objectsOf(files, schema);
    const values = [wanted.map(({ kind }) => kind), wanted.map(({ name }) => name)];
    const objects = z.array(object).parse(await read(MISSING, values));
    if (objects.length === 0) continue;
    const own = wanted.filter(({ kind, name }) => kind === 'table' && !theirs.has(name));
    const gone = new Set(objects.map(({ name }) => name));
    all.push({ set, objects, allTables: own.length > 0 && own.every(({ name }) => gone.has(name)) });
  }
  return all;
}

/** The same, on the connection of a migration. */
export async function missingOn(client: pg.Client, extensions: readonly InstalledExtension[]): Promise<Missing[]> {
  const { rows } = await client.query<{ name: string }>('SELECT name FROM rowcast.migrations');
  const read: Read = async (sql, values) => (await client.query(sql, values)).rows;
  return missingObjects(read, extensions, new Set(rows.map(({ name }) => name)));
}
