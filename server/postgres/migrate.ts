/**
 * Brings a database up to date: runs the pending migrations of the core and of the installed extensions, installs extensions,
 * and records which rights each migration granted. `rowcast migrate` and `rowcast up` call it.
 */
import type pg from 'pg';
import { inSchema, isUsableSchema } from '../ground/in-schema.js';
import { type InstalledExtension, readInstalled } from './extensions.js';
import { GRANTS, ROLES } from './grants.js';
import { changeInstallation, runScript } from './installation.js';
import { missingOn } from './missing-objects.js';
import { CORE, extensionSets, type Migration, migrationsOf, requiredBy, uninstallOf } from './sql-sets.js';

/** The default schema for the tables of an extension. */
const DEFAULT_SCHEMA = 'public';

/** A migration was edited after it had run, so that the database and the files differ. */
export class MigrationChanged extends Error {
  override readonly name = 'MigrationChanged';
}

export interface MigrateOptions {
  /** Extensions to install, if they are not installed yet, each after the one that it requires. */
  readonly with?: readonly string[];
  /** The schema for their tables, which is created if it does not exist. Default: `public`, or the present one. */
  readonly schema?: string;
}

interface Granted {
  readonly schema: string;
  readonly object: string;
  readonly privilege: string;
  readonly grantee: string;
}

/**
 * Installs the core and the requested extensions, and runs all pending migrations, in one transaction. Returns the names of
 * the migrations that ran. Concurrent calls from many processes are safe. Rejects with `MigrationChanged`,
 * `OutdatedInstallation`, or the error of PostgreSQL.
 */
export async function migrate(databaseUrl: string, options: MigrateOptions = {}): Promise<string[]> {
  const { with: wanted = [], schema } = options;
  const known = extensionSets();
  const unknown = wanted.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`unknown extension: ${unknown.join(', ')}; available: ${known.join(', ')}`);
  if (schema !== undefined && !isUsableSchema(schema)) {
    throw new Error(`the name of the schema must not contain quotes, $, % or backslashes: ${schema}`);
  }
  const work = async (client: pg.Client) => {
    const ran = await runPending(client, CORE, migrationsOf(CORE));
    const required = wanted.flatMap((name) => requiredBy(name) ?? []);
    for (const name of new Set([...required, ...wanted])) await install(client, name, schema);
    for (const extension of await goneExtensions(client)) await takeAway(client, extension);
    for (const { name, schema } of await readInstalled(client)) {
      // Extensions that are not part of this version are left unchanged.
      const files = known.includes(name) ? migrationsOf(name) : [];
      ran.push(...(await runPending(client, name, files, schema)));
    }
    return { result: ran, keep: true };
  };
  const look = async (client: pg.Client) => {
    const installed = (await readInstalled(client)).map(({ name }) => name);
    const done = await readDone(client);
    const sets = [CORE, ...installed.filter((name) => known.includes(name))];
    const ran = sets.flatMap(migrationsOf).every(({ name, checksum }) => done.get(name) === checksum);
    if (!ran || schema !== undefined || !wanted.every((name) => installed.includes(name))) return null;
    return (await goneExtensions(client)).length > 0 ? null : [];
  };
  return changeInstallation(databaseUrl, work, look);
}

async function install(client: pg.Client, name: string, schema: string | undefined): Promise<void> {
  const installed = await readInstalled(client);
  const find = (wanted: string) => installed.find((extension) => extension.name === wanted);
  const present = find(name);
  if (present !== undefined) {
    if (schema === undefined || (await quoted(client, schema)) === present.schema) return;
    throw new Error(
      `${name} is installed already, in the schema ${present.schema}. To remove it: npx rowcast uninstall --with ${name}`,
    );
  }
  const base = find(requiredBy(name) ?? '');
  if (base !== undefined && schema !== undefined && (await quoted(client, schema)) !== base.schema) {
    throw new Error(`${name} must be in the schema of ${base.name}, which is ${base.schema}`);
  }
  // As the name is, not as SQL writes it.
  const target = base === undefined ? (schema ?? DEFAULT_SCHEMA) : await schemaOf(client, base.name);
  const { rowCount: there } = await client.query('SELECT FROM pg_namespace WHERE nspname = $1', [target]);
  if (!there) await client.query(`CREATE SCHEMA ${await quoted(client, target)}`);
  // The time of the clock, not of the transaction: extensions are removed in the reverse order.
  const text = `INSERT INTO rowcast.extensions (name, schema, made_schema, installed_at) VALUES ($1, $2, $3, clock_timestamp())`;
  await client.query(text, [name, target, !there]);
}

/** The extensions whose tables were all dropped, those that build on others first. */
async function goneExtensions(client: pg.Client): Promise<InstalledExtension[]> {
  const known = extensionSets();
  const installed = (await readInstalled(client)).filter(({ name }) => known.includes(name));
  const gone = (await missingOn(client, installed)).filter(({ allTables }) => allTables).map(({ set }) => set);
  return installed.filter(({ name }) => gone.includes(name)).reverse();
}

/**
 * Takes away what is left of an extension whose tables were all dropped, with `DROP SCHEMA public CASCADE` for example, so
 * that its migrations run again. Its schema may be gone as well.
 */
async function takeAway(client: pg.Client, { name, schema }: InstalledExtension): Promise<void> {
  await client.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`);
  await client.query(`UPDATE rowcast.extensions SET adopted = '{}' WHERE name = $1`, [name]);
  await runScript(client, `${name}/uninstall.sql`, inSchema(uninstallOf(name), schema));
  await client.query('DELETE FROM rowcast.migrations WHERE name LIKE $1', [`${name}/%`]);
}

async function schemaOf(client: pg.Client, extension: string): Promise<string> {
  const text = 'SELECT schema FROM rowcast.extensions WHERE name = $1';
  return (await client.query<{ schema: string }>(text, [extension])).rows[0]?.schema ?? DEFAULT_SCHEMA;
}

/** Quotes a name if SQL requires it. */
async function quoted(client: pg.Client, name: string): Promise<string> {
  const { rows } = await client.query<{ quoted: string }>('SELECT quote_ident($1) AS quoted', [name]);
  return rows[0]?.quoted ?? name;
}

async function runPending(
  client: pg.Client,
  set: string,
  migrations: readonly Migration[],
  schema = '',
): Promise<string[]> {
  const done = await readDone(client);
  const changed = migrations.find(({ name, checksum }) => (done.get(name) ?? checksum) !== checksum);
  if (changed !== undefined) {
    throw new MigrationChanged(`${changed.name} was changed after it ran: add a new migration instead`);
  }
  const pending = migrations.filter(({ name }) => !done.has(name));
  let before = pending.length > 0 ? await readGrants(client) : [];
  for (const { name, sql, checksum } of pending) {
    await runScript(client, name, set === CORE ? sql : inSchema(sql, schema));
    await client.query('INSERT INTO rowcast.migrations (name, checksum) VALUES ($1, $2)', [name, checksum]);
    const after = await readGrants(client);
    await recordGrants(client, name, before, after);
    before = after;
  }
  return pending.map(({ name }) => name);
}

async function readDone(client: pg.Client): Promise<Map<string, string>> {
  const { rowCount: there } = await client.query(`SELECT WHERE to_regclass('rowcast.migrations') IS NOT NULL`);
  if (!there) return new Map();
  const { rows } = await client.query<{ name: string; checksum: string }>(
    'SELECT name, checksum FROM rowcast.migrations',
  );
  return new Map(rows.map(({ name, checksum }) => [name, checksum]));
}

async function readGrants(client: pg.Client): Promise<Granted[]> {
  return (await client.query<Granted>(GRANTS, [ROLES])).rows;
}

/** Records the rights that a migration granted: those that exist after it but not before. */
async function recordGrants(
  client: pg.Client,
  migration: string,
  before: readonly Granted[],
  after: readonly Granted[],
): Promise<void> {
  const known = new Set(before.map((granted) => JSON.stringify(granted)));
  const added = after.filter((granted) => !known.has(JSON.stringify(granted)));
  await client.query(
    `INSERT INTO rowcast.granted (migration, schema, object, privilege, grantee)
     SELECT $1, g.schema, g.object, g.privilege, g.grantee
       FROM json_to_recordset($2) AS g (schema text, object text, privilege text, grantee text) ON CONFLICT DO NOTHING`,
    [migration, JSON.stringify(added)],
  );
}
