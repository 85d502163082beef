import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { until } from './until.js';

export interface Cluster {
  readonly version: string;
  readonly url: string;
}

export interface TestDatabase {
  readonly url: string;
  /** Removes the database, and fails if anything is still connected to it: a client whose connection is cut while it closes emits an error. */
  drop(): Promise<void>;
}

/** The migrated database that all test databases are copied from. */
export const TEMPLATE = 'rowcast_template';

/** What the sessions of the test itself are called in `pg_stat_activity`. */
export const TEST_SESSION = 'rowcast-test';

/** The servers that the global setup has started; the first one is the embedded one. */
export function clusters(): Cluster[] {
  return JSON.parse(process.env.ROWCAST_TEST_CLUSTERS ?? '[]') as Cluster[];
}

export async function createDatabase(cluster = clusters()[0]): Promise<TestDatabase> {
  if (!cluster) throw new Error('no PostgreSQL was started: database tests belong in test/integration or test/fault');
  const name = `test_${randomBytes(6).toString('hex')}`;
  await onServer(cluster, (admin) => admin.query(`CREATE DATABASE ${name} TEMPLATE ${TEMPLATE}`));
  return {
    url: new URL(`/${name}`, cluster.url).href,
    drop: () =>
      onServer(cluster, async (admin) => {
        const leaked = await leakedSessions(admin, name);
        await admin.query(`DROP DATABASE ${name} WITH (FORCE)`);
        if (leaked.length > 0) throw new Error(`sessions left open:\n${leaked.join('\n')}`);
      }),
  };
}

/** A backend outlives the connection that its client has closed by some milliseconds, so this looks more than once. */
async function leakedSessions(admin: pg.Client, database: string): Promise<string[]> {
  let sessions: string[] = [];
  const none = async () => {
    const { rows } = await admin.query<{ session: string }>(
      `SELECT format('%s (%s): %s', coalesce(nullif(application_name, ''), 'unnamed'), state, query) AS session
         FROM pg_stat_activity WHERE datname = $1 AND backend_type IN ('client backend', 'walsender')`,
      [database],
    );
    sessions = rows.map(({ session }) => session);
    return sessions.length === 0;
  };
  await until(none, { deadlineMs: 2_000, what: 'sessions to close' }).catch((error: unknown) => {
    if (sessions.length === 0) throw error;
  });
  return sessions;
}

async function onServer<T>(cluster: Cluster, work: (admin: pg.Client) => Promise<T>): Promise<T> {
  const admin = new pg.Client({ connectionString: cluster.url, application_name: TEST_SESSION });
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.end();
  }
}
