/** Tells a direct connection, or one through a pooler in session mode, from one whose statements change sessions. */
import pg from 'pg';
import type { DatabaseUrl } from '../settings/database-url.js';
import { connectOptions } from './connect-options.js';
import { CONNECT_TIMEOUT } from './session.js';

const TRANSACTION_MODE =
  'the database is reached through a pooler in transaction mode, where LISTEN, session locks and prepared statements do not work: connect to PostgreSQL directly, or through a pooler in session mode (PgBouncer: pool_mode = session)';

/** The number of open transactions, which make a pooler assign another session to the next statement. */
const OTHERS = 3;

export async function backendOf(client: pg.Client): Promise<number | undefined> {
  return (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid;
}

/** Whether something between client and server gave the client a cancel key of its own, whose pid is not that of the backend. */
export async function isPooled(client: pg.Client): Promise<boolean> {
  return (client as unknown as { processID: number }).processID !== (await backendOf(client));
}

/**
 * Whether the statements of `client` change sessions while other transactions, over connections that `connect` opens, are open.
 * They are opened one by one, because a pool may be small.
 */
export async function changesSessions(client: pg.Client, connect: () => Promise<pg.Client>): Promise<boolean> {
  const first = await backendOf(client);
  const others: pg.Client[] = [];
  try {
    while (others.length < OTHERS) {
      const other = await connect();
      others.push(other);
      await other.query('BEGIN');
      if ((await backendOf(other)) === first || (await backendOf(client)) !== first) return true;
    }
    return false;
  } finally {
    await Promise.all(others.map((other) => other.query('ROLLBACK').catch(() => {})));
  }
}

/** Rejects if `client`, which is connected to the same URL, has no session of its own. A direct connection costs one query. */
export async function requireSession(client: pg.Client, databaseUrl: DatabaseUrl): Promise<void> {
  if (!(await isPooled(client))) return;
  const opened: pg.Client[] = [];
  const connect = async () => {
    const other = new pg.Client({
      ...connectOptions(databaseUrl),
      application_name: 'rowcast pooler',
      connectionTimeoutMillis: CONNECT_TIMEOUT,
      query_timeout: CONNECT_TIMEOUT,
    });
    other.on('error', () => {}); // the pending query rejects as well
    opened.push(other);
    await other.connect();
    return other;
  };
  try {
    if (await changesSessions(client, connect)) throw new Error(TRANSACTION_MODE);
  } finally {
    await Promise.all(opened.map((other) => other.end().catch(() => {})));
  }
}
