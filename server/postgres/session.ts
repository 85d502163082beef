/**
 * A database connection that is reopened whenever it ends, and the settings and error classes that all connections of a
 * gateway share. Queries run one after the other in the order of the calls. The tail uses it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { Unavailable } from '../ground/refusal.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import { connectOptions } from './connect-options.js';
import type { ConnectionHealth } from './connection-health.js';
import { endsInSilence } from './silence.js';

/** Parses bigint as a number, because a seq stays below 2^53 and a BigInt for each event would be expensive. */
const INT8 = 20;
export const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format: 'text' | 'binary') =>
    oid === INT8 ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

/**
 * Settings that decide how PostgreSQL writes a value as text. They override those of the login and the database, so that a row
 * has the same text in every gateway.
 */
export const TEXT_SETTINGS: Readonly<Record<string, string>> = {
  timezone: 'UTC',
  datestyle: 'ISO, MDY',
  intervalstyle: 'postgres',
  bytea_output: 'hex',
  extra_float_digits: '1',
  xmlbinary: 'base64',
  xmloption: 'content',
  lc_monetary: 'C',
  lc_numeric: 'C',
  lc_time: 'C',
  quote_all_identifiers: 'off', // names of tables, as regclass prints them
};

/**
 * SQL for connections that read streams. Statements are planned once, and always use an index, because the tables may
 * grow while a plan is cached.
 */
export const READ_SETTINGS = Object.entries({
  ...TEXT_SETTINGS,
  enable_seqscan: 'off',
  jit: 'off',
  plan_cache_mode: 'force_generic_plan',
})
  .map(([name, value]) => `SET ${name} = '${value}'`)
  .join('; ');

/** The role of a gateway, which may read streams and owns nothing. */
export const GATEWAY_ROLE = 'rowcast_gateway';

/** What a login may have other defaults of: without row security PostgreSQL refuses to read a table that has policies. */
export const SESSION_DEFAULTS = `SET row_security = on; SET default_transaction_isolation = 'read committed'`;

/** SQL for every session of a gateway that reads or writes a table. */
export const AS_GATEWAY = `SET ROLE ${GATEWAY_ROLE}; ${SESSION_DEFAULTS}`;

/** The timeout of an attempt to connect, and the maximum delay before the next one, in milliseconds. */
export const CONNECT_TIMEOUT = 5_000;
const LONGEST_WAIT = 1_000;

/** How long to wait for a connection to close cleanly, in milliseconds. */
const CLOSE_TIMEOUT = 2_000;

/** Resolves to the result of `ending`, or to undefined after a timeout: stopping must not wait for a server that hangs. */
export async function withGrace<T>(ending: Promise<T>): Promise<T | undefined> {
  const stop = new AbortController();
  try {
    return await Promise.race([ending, delay(CLOSE_TIMEOUT, undefined, { signal: stop.signal })]);
  } finally {
    stop.abort();
  }
}

/**
 * Whether the error means that the connection is lost. An error with a SQLSTATE leaves the connection usable, except for the
 * classes 57P (shutdown), 08 and 53 (insufficient resources) other than 53200 (out of memory for one statement).
 */
export function isConnectionLoss(error: unknown): boolean {
  return !(error instanceof pg.DatabaseError) || /^(57P|08|53(?!200))/.test(error.code ?? '');
}

/** Whether the server cancelled the statement because of `statement_timeout` or `lock_timeout`. */
export function isTimeout(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === '57014' || error.code === '55P03');
}

/** Whether a table or column in the statement no longer exists, or may no longer be read. */
export function isOutdated(error: unknown): boolean {
  return error instanceof pg.DatabaseError && ['42P01', '42703', '42501'].includes(error.code ?? '');
}

/** Whether the statement waited longer than `lock_timeout` for a lock of another transaction. */
export function isLockTimeout(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '55P03';
}

export interface SessionOptions {
  readonly databaseUrl: DatabaseUrl;
  readonly name: string;
  /** The connection is closed if the server sends nothing for this time during a query, in milliseconds. */
  readonly silenceTimeout: number;
  readonly health: ConnectionHealth;
  /** Sets up each new connection, before its first query. */
  readonly prepare: (client: pg.Client) => Promise<void>;
  readonly onConnected: () => void;
}

export class Session {
  readonly #databaseUrl: DatabaseUrl;
  readonly #name: string;
  readonly #silenceTimeout: number;
  readonly #health: ConnectionHealth;
  readonly #prepare: (client: pg.Client) => Promise<void>;
  readonly #onConnected: () => void;
  readonly #stop = new AbortController();
  #client: pg.Client | null = null;
  /** Whether a query is pending. */
  #querying = false;
  #running: Promise<void> = Promise.resolve();
  #queue: Promise<void> = Promise.resolve();

  constructor({ databaseUrl, name, silenceTimeout, health, prepare, onConnected }: SessionOptions) {
    this.#databaseUrl = databaseUrl;
    this.#name = name;
    this.#silenceTimeout = silenceTimeout;
    this.#health = health;
    this.#prepare = prepare;
    this.#onConnected = onConnected;
  }

  get connected(): boolean {
    return this.#client !== null;
  }

  /** Opens the first connection. Rejects with the error of PostgreSQL if that fails. Later attempts are repeated for ever. */
  async start(): Promise<void> {
    this.#running = this.#keep(await this.#connect());
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    const client = this.#client;
    if (client !== null) {
      await withGrace(client.end());
      this.#lose(client);
    }
    await this.#running;
  }

  /**
   * Runs queries one after the other in the order of the calls, so that a later call never has an older snapshot. Rejects
   * with `Unavailable` while there is no connection, if it is lost during the query, or if the query times out.
   */
  query<R extends pg.QueryResultRow>(query: pg.QueryConfig): Promise<R[]> {
    const result = this.#queue.then(() => this.#query<R>(query));
    this.#queue = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  async #query<R extends pg.QueryResultRow>(query: pg.QueryConfig): Promise<R[]> {
    const client = this.#client;
    if (client === null) throw new Unavailable(`${this.#name}: no connection to the database`);
    try {
      this.#querying = true;
      return (await client.query<R>(query)).rows;
    } catch (error) {
      const tooSlow = isTimeout(error);
      if (!tooSlow && !isConnectionLoss(error)) throw error;
      if (!tooSlow) this.#lose(client);
      throw new Unavailable(`${this.#name}: ${(error as Error).message}`, { cause: error });
    } finally {
      this.#querying = false;
    }
  }

  #lose(client: pg.Client): void {
    if (this.#client === client) this.#client = null;
    // `end` would wait for a server that may no longer respond.
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }

  /** Resolves when connected. `ended` resolves to the reason when that connection has ended. */
  async #connect(): Promise<{ ended: Promise<Error> }> {
    const client: pg.Client = new pg.Client({
      ...connectOptions(this.#databaseUrl),
      application_name: `rowcast ${this.#name}`,
      connectionTimeoutMillis: CONNECT_TIMEOUT,
      stream: endsInSilence(this.#silenceTimeout, () => this.#querying || this.#client !== client),
      keepAlive: true,
      types,
    });
    let reason: Error | undefined;
    const ended = new Promise<Error>((resolve) => {
      client.once('end', () => resolve(reason ?? new Error('the server has closed the connection')));
    });
    client.on('error', (error) => {
      reason ??= error;
      this.#lose(client);
    });
    try {
      await client.connect();
      await this.#prepare(client);
      this.#stop.signal.throwIfAborted();
    } catch (error) {
      this.#lose(client);
      throw error;
    }
    this.#client = client;
    this.#onConnected();
    return { ended };
  }

  async #keep(first: { ended: Promise<Error> }): Promise<void> {
    const { signal } = this.#stop;
    let { ended } = first;
    for (;;) {
      const reason = await ended;
      this.#client = null;
      if (signal.aborted) return;
      this.#health.lost(this.#name, reason);
      for (let wait = 50; ; wait = Math.min(LONGEST_WAIT, wait * 2)) {
        await delay(Math.random() * wait, undefined, { signal }).catch(() => {});
        if (signal.aborted) return;
        const next = await this.#connect().catch((error: unknown) => {
          if (!signal.aborted) this.#health.refused(this.#name, error);
          return null;
        });
        if (next === null) continue;
        this.#health.connected(this.#name);
        ({ ended } = next);
        break;
      }
    }
  }
}
