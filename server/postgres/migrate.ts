import type pg from 'pg';
import { inSchema, isUsableSchema } from '../ground/in-schema.js';
import { type InstalledExtension, readInstalled } from './extensions.js';
import { GRANTS, ROLES } from './grants.js';
import { changeInstallation, runScript } from './installation.js';
import { CORE, extensionSets, type Migration, migrationsOf } from './sql-sets.js';

/** Where an extension has its tables if nothing else is said. */
const DEFAULT_SCHEMA = 'public';

/** A migration that ran once has been edited since: the database and the files tell different stories. */
export class MigrationChanged extends Error {
  override readonly name = 'MigrationChanged';
}

export interface MigrateOptions {
  /** Extensions to install, if they are not installed yet. */
  readonly with?: readonly string[];
  /** The schema for their tables, which is made if it is not there. Left out: `public`, or where they are. */
  readonly schema?: string;
}

interface Granted {
  readonly schema: string;
  readonly object: string;
  readonly privilege: string;
  readonly grantee: string;
}

/**
 * Brings a database up to date: installs the core, and the extensions that are asked for, and runs the migrations of all that is
 * installed that have not run yet. All of it is one transaction: what fails leaves nothing behind. Returns the names of
 * the migrations that ran. Safe to call from many processes at once.
 * Throws `MigrationChanged`, `OutdatedInstallation`, or what Postgres said.
 */
export async function migrate(databaseUrl: string, options: MigrateOptions = {}): Promise<string[]> {
  const { with: wanted = [], schema } = options;
  const known = extensionSets();
  const unknown = wanted.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`no such extension: ${unknown.join(', ')}; there are: ${known.join(', ')}`);
  if (schema !== undefined && !isUsableSchema(schema)) {
    throw new Error(`the schema of an extension has a name without quotes, $, % and backslashes, not ${schema}`);
  }
  return changeInstallation(databaseUrl, async (client) => {
    const ran = await runPending(client, CORE, migrationsOf(CORE));
    const installed = await readInstalled(client);
    for (const name of wanted) await install(client, name, schema, installed);
    for (const { name, schema } of await readInstalled(client)) {
      // One that this version does not bring is left as it is.
      const files = known.includes(name) ? migrationsOf(name) : [];
      ran.push(...(await runPending(client, name, files, schema)));
    }
    return { result: ran, keep: true };
  });
}

async function install(
  client: pg.Client,
  name: string,
  schema: string | undefined,
  installed: readonly InstalledExtension[],
): Promise<void> {
  const present = installed.find((extension) => extension.name === name);
  if (present !== undefined) {
    if (schema === undefined || (await quoted(client, schema)) === present.schema) return;
    throw new Error(
      `${name} is installed already, in the schema ${present.schema}: npx rowcast uninstall --with ${name}`,
    );
  }
  const target = schema ?? DEFAULT_SCHEMA;
  const { rowCount: there } = await client.query('SELECT FROM pg_namespace WHERE nspname = $1', [target]);
  if (!there) await client.query(`CREATE SCHEMA ${await quoted(client, target)}`);
  await client.query('INSERT INTO rowcast.extensions (name, schema, made_schema) VALUES ($1, $2, $3)', [
    name,
    target,
    !there,
  ]);
}

/** A name as SQL writes it. */
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
    await remember(client, name, before, after);
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

/** What a migration granted: what is granted after it and was not before. */
async function remember(
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
