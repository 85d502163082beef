import pg from 'pg';
import type { Database } from '../ports/database.js';
import { connectOptions } from './connect-options.js';
import { poolDatabase } from './principal-database.js';
import { CONNECT_TIMEOUT, types } from './session.js';

/** The number of connections of a service, and the timeout of its statements in milliseconds. */
const SIZE = 4;
const QUERY_TIMEOUT = 10_000;

export interface ConnectedDatabase extends Database {
  /** Closes the connections. A pool that was passed in stays open. */
  close(): Promise<void>;
}

/**
 * The database with the rights of its login, for services: from a URL, or from an existing pool, which the caller closes.
 * It connects at the first use.
 */
export function connectDatabase(from: string | pg.Pool): ConnectedDatabase {
  if (typeof from !== 'string') return { ...poolDatabase(from), close: async () => {} };
  const pool = new pg.Pool({
    ...connectOptions(from),
    application_name: 'rowcast service',
    max: SIZE,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    query_timeout: QUERY_TIMEOUT,
    keepAlive: true,
    pipeline: true,
    types,
  });
  pool.on('error', () => {}); // an idle connection was lost; the next use opens another one
  return { ...poolDatabase(pool), close: () => pool.end() };
}
