import pg from 'pg';
import type { Logger } from '../ground/logger.js';
import { connectOptions } from './connect-options.js';
import { ConnectionHealth } from './connection-health.js';
import { AS_GATEWAY, CONNECT_TIMEOUT, types } from './session.js';

export interface PoolOptions {
  readonly databaseUrl: string;
  /** What its sessions are called in `pg_stat_activity`, after `rowcast`. */
  readonly name: string;
  readonly size: number;
  /** How long a query may take before its connection is closed, in milliseconds. */
  readonly queryTimeout: number;
  readonly logger: Logger;
  readonly health?: ConnectionHealth;
  /** Idle connections stay open: the server may have no room for new ones when they are needed. */
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
  health = new ConnectionHealth(logger),
  lasting = false,
  prepare = '',
}: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    ...connectOptions(databaseUrl),
    application_name: `rowcast ${name}`,
    max: size,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    query_timeout: queryTimeout,
    keepAlive: true,
    ...(lasting && { idleTimeoutMillis: 0 }),
    types,
    Client: clientThatReports(name, health),
    onConnect: (client) => health.watch(name, client.query(`${AS_GATEWAY};${prepare}`)),
  });
  pool.on('error', (error) =>
    logger.warn({ session: name, err: error }, 'an idle connection to the database was lost'),
  );
  return pool;
}

/** Callers of a pool get the errors of connecting, and translate them for clients; here they reach the log. */
function clientThatReports(name: string, health: ConnectionHealth): typeof pg.Client {
  return class extends pg.Client {
    override connect(): Promise<pg.Client>;
    override connect(callback: (error: Error) => void): void;
    override connect(callback?: (error: Error) => void): Promise<pg.Client> | undefined {
      if (callback === undefined) return health.watch(name, super.connect());
      super.connect((error: Error | null) => {
        if (error) health.refused(name, error);
        callback(error as Error);
      });
      return undefined;
    }
  };
}
