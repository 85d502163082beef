import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { packageRoot } from '../ground/package-root.js';
import { LOCK_CLASS, locks } from './locks.js';

const TRY_LOCK = `SELECT pg_try_advisory_lock(${LOCK_CLASS}, ${locks.migrations}) AS locked`;
/** In milliseconds. */
const LOCK_POLL = 50;
const LOCK_DEADLINE = 60_000;

const CREATE_MIGRATIONS = `
  CREATE SCHEMA IF NOT EXISTS rowcast;
  CREATE TABLE rowcast.migrations (
    name text PRIMARY KEY, checksum text NOT NULL, run_at timestamptz NOT NULL DEFAULT now())`;

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/** A migration that ran once has been edited since: the database and the files tell different stories. */
export class MigrationChanged extends Error {
  override readonly name = 'MigrationChanged';
}

/**
 * Runs the migrations of `sql/` that have not run yet, each in a transaction of its own, and returns their names.
 * Safe to call from many processes at once. Throws `MigrationChanged`, or what Postgres said.
 */
export async function migrate(databaseUrl: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: databaseUrl, application_name: 'rowcast migrate' });
  client.on('error', () => {}); // the query that was under way rejects as well
  await client.connect();
  try {
    // Polled, not awaited inside Postgres: a session that waits holds a snapshot, on which an index build by the
    // session that migrates (CREATE INDEX CONCURRENTLY) would wait in turn.
    const deadline = Date.now() + LOCK_DEADLINE;
    while (!(await client.query<{ locked: boolean }>(TRY_LOCK)).rows[0]?.locked) {
      if (Date.now() > deadline) throw new Error('another migration has held the lock for a minute');
      await delay(LOCK_POLL);
    }
    return await runPending(client, await readMigrations());
  } finally {
    await client.end();
  }
}

export async function readMigrations(): Promise<Migration[]> {
  const folder = join(packageRoot(), 'sql');
  const names = (await readdir(folder)).filter((name) => /^\d{4}_.*\.sql$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(join(folder, name), 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

async function runPending(client: pg.Client, migrations: readonly Migration[]): Promise<string[]> {
  await client.query('SET client_min_messages = warning');
  // Asked first: IF NOT EXISTS needs the right to create even where there is nothing to do.
  const { rowCount: exists } = await client.query(`SELECT WHERE to_regclass('rowcast.migrations') IS NOT NULL`);
  if (!exists) await client.query(CREATE_MIGRATIONS);
  const { rows } = await client.query<{ name: string; checksum: string }>(
    'SELECT name, checksum FROM rowcast.migrations',
  );
  const done = new Map(rows.map(({ name, checksum }) => [name, checksum]));
  const ran: string[] = [];
  for (const { name, sql, checksum } of migrations) {
    const known = done.get(name);
    if (known === checksum) continue;
    if (known !== undefined)
      throw new MigrationChanged(`${name} was changed after it ran: add a new migration instead`);
    try {
      await client.query('BEGIN');
      await client.query(sql);
      await client.query('INSERT INTO rowcast.migrations (name, checksum) VALUES ($1, $2)', [name, checksum]);
      await client.query('COMMIT');
    } catch (error) {
      const { message, hint } = error as pg.DatabaseError;
      throw new Error([`migration ${name} failed: ${message}`, hint].filter(Boolean).join('\n'), { cause: error });
    }
    ran.push(name);
  }
  return ran;
}
