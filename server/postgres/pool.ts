import pg from 'pg';
import type { Logger } from '../ground/logger.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import { messageOf } from './connect-errors.js';
import { connectOptions } from './connect-options.js';
import { ConnectionHealth } from './connection-health.js';
import { AS_GATEWAY, CONNECT_TIMEOUT, types } from './session.js';

export interface PoolOptions {
  readonly databaseUrl: DatabaseUrl;
  /** The name of its sessions in `pg_stat_activity`, after `rowcast`. */
  readonly name: string;
  readonly size: number;
  /** How long a query may take before its connection is closed, in milliseconds. */
  readonly queryTimeout: number;
  readonly logger: Logger;
  readonly health?: ConnectionHealth;
  /** Keeps idle connections open, because the server may have no room for new ones when they are needed. */
  readonly keepIdle?: boolean;
  /** SQL that sets up each new connection. */
  readonly prepare?: string;
}

export function makePool({
  databaseUrl,
  name,
  size,
  queryTimeout,
  logger,
  health = new ConnectionHealth(logger),
  keepIdle = false,
  prepare = '',
}: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    ...connectOptions(databaseUrl),
    application_name: `rowcast ${name}`,
    max: size,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    query_timeout: queryTimeout,
    keepAlive: true,
    ...(keepIdle && { idleTimeoutMillis: 0 }),
    types,
    Client: clientThatReports(name, health),
    onConnect: (client) => health.watch(name, client.query(`${AS_GATEWAY};${prepare}`)).catch(notConnected),
  });
  pool.on('error', (error) => {
    // A pool that ends closes its last connections after `end`: a database that stops with the gateway may have closed them before.
    if (!pool.ending) logger.warn({ session: name, err: error }, 'an idle connection to the database was lost');
  });
  return pool;
}

/**
 * A client that records how its attempts to connect end. Callers of the pool get the errors as well, and translate them for
 * clients. An error of connecting must not pass for the answer to a statement: "permission denied" of the login is not a
 * refusal of a reader.
 */
function clientThatReports(name: string, health: ConnectionHealth): typeof pg.Client {
  return class extends pg.Client {
    override connect(): Promise<pg.Client>;
    override connect(callback: (error: Error) => void): void;
    override connect(callback?: (error: Error) => void): Promise<pg.Client> | undefined {
      const attempt = super.connect().catch((error: unknown) => {
        health.refused(name, error);
        return notConnected(error);
      });
      if (callback === undefined) return attempt;
      attempt.then(() => callback(null as never), callback);
      return undefined;
    }
  };
}

function notConnected(error: unknown): never {
  throw new Error(messageOf(error), { cause: error });
}
