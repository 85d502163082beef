import pg from 'pg';
import type { Database } from '../ports/database.js';
import { connectOptions } from './connect-options.js';
import { poolDatabase } from './principal-database.js';
import { CONNECT_TIMEOUT, types } from './session.js';

/** Connections of a service, and how long one of its statements may take, in milliseconds. */
const SIZE = 4;
const QUERY_TIMEOUT = 10_000;

export interface ConnectedDatabase extends Database {
  /** Closes the connections that it has opened itself. */
  close(): Promise<void>;
}

/**
 * The database as a service sees it, with the rights of its own login: by its URL, or by a pool that the service has
 * already and goes on closing itself. Connects when it is first used.
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
    types,
  });
  pool.on('error', () => {}); // an idle connection was lost: the next use opens another one
  return { ...poolDatabase(pool), close: () => pool.end() };
}
