import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { connectOptions } from './connect-options.js';
import { requireUtf8 } from './encoding.js';
import { LOCK_CLASS, locks } from './locks.js';
import { requireSession } from './pooler.js';

const TRY_LOCK = `SELECT pg_try_advisory_lock(${LOCK_CLASS}, ${locks.migrations}) AS locked`;
/** Interval between attempts to take the lock, and the time after which they end, in milliseconds. */
const LOCK_POLL = 50;
const LOCK_DEADLINE = 60_000;

/** Names in the SQL sets are schema-qualified. With this search_path an unqualified one fails for every login. */
const BEGIN = `BEGIN ISOLATION LEVEL READ COMMITTED;
  SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL client_min_messages = warning`;

/** The database was set up by a version of Rowcast whose installation cannot be updated. */
export class OutdatedInstallation extends Error {
  override readonly name = 'OutdatedInstallation';
}

/** Detects the migrations of that version, whose names have no set. */
const OUTDATED = `SELECT WHERE to_regclass('rowcast.migrations') IS NOT NULL`;
const OUTDATED_NAMES = `SELECT FROM rowcast.migrations WHERE name NOT LIKE '%/%'`;

/**
 * Changes the installation in a database: one process at a time, in one transaction. `keep` in the result of `work` decides
 * whether it is committed. If `look` finds that nothing is to be changed, its result counts, and the lock is not taken, which any
 * login of the database could hold. Rejects with `OutdatedInstallation`.
 */
export async function changeInstallation<T>(
  databaseUrl: string,
  work: (client: pg.Client) => Promise<{ readonly result: T; readonly keep: boolean }>,
  look: (client: pg.Client) => Promise<T | null> = async () => null,
): Promise<T> {
  const client = new pg.Client({ ...connectOptions(databaseUrl), application_name: 'rowcast migrate' });
  client.on('error', () => {}); // the pending query rejects as well
  await client.connect();
  try {
    await requireUtf8(client);
    await requireSession(client, databaseUrl); // a pooler would keep the lock
    const unchanged = await look(client);
    if (unchanged !== null) return unchanged;
    // Polled, because a session that waits for the lock in PostgreSQL holds a snapshot. CREATE INDEX CONCURRENTLY in the
    // session that migrates would wait for it: a deadlock.
    const deadline = Date.now() + LOCK_DEADLINE;
    while (!(await client.query<{ locked: boolean }>(TRY_LOCK)).rows[0]?.locked) {
      if (Date.now() > deadline) throw new Error('another migration has held the lock for a minute');
      await delay(LOCK_POLL);
    }
    await client.query(BEGIN);
    if ((await client.query(OUTDATED)).rowCount && (await client.query(OUTDATED_NAMES)).rowCount) {
      throw new OutdatedInstallation(
        'this database was set up by a version of Rowcast that was never released, and cannot be brought up to date: use another database, or drop the schema rowcast and the tables of the executions in this one',
      );
    }
    const { result, keep } = await work(client);
    await client.query(keep ? 'COMMIT' : 'ROLLBACK');
    return result;
  } finally {
    await client.end(); // rolls back a failed transaction
  }
}

/** Runs a script of an SQL set. Rejects with the message, detail and hint of PostgreSQL. */
export async function runScript(client: pg.Client, name: string, sql: string): Promise<void> {
  try {
    await client.query(sql);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    const { message, detail, hint, code } = error;
    const explained = [`${name}: ${message}`, detail, hint].filter(Boolean).join('\n');
    throw Object.assign(new Error(explained, { cause: error }), { code });
  }
}
