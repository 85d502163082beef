import pg from 'pg';
import type { Logger } from '../ground/logger.js';
import { AS_GATEWAY, CONNECT_TIMEOUT, types } from './session.js';

export interface PoolOptions {
  readonly databaseUrl: string;
  /** What its sessions are called in `pg_stat_activity`, after `rowcast`. */
  readonly name: string;
  readonly size: number;
  /** After which a connection is given up, in milliseconds. */
  readonly queryTimeout: number;
  readonly logger: Logger;
  /** Connections stay although nobody uses them: the server may have no room for new ones when they are needed. */
  readonly lasting?: boolean;
  /** Sets up each new connection. */
  readonly prepare?: string;
}

export function makePool({
  databaseUrl,
  name,
  size,
  queryTimeout,
  logger,
  lasting = false,
  prepare = '',
}: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    application_name: `rowcast ${name}`,
    max: size,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    query_timeout: queryTimeout,
    keepAlive: true,
    ...(lasting && { idleTimeoutMillis: 0 }),
    types,
    onConnect: (client) => client.query(`${AS_GATEWAY};${prepare}`),
  });
  pool.on('error', (error) => logger.warn({ err: error }, 'an idle connection to the database was lost'));
  return pool;
}
