import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { Unavailable } from '../ground/refusal.js';
import { connectOptions } from './connect-options.js';
import type { ConnectionHealth } from './connection-health.js';
import { endsInSilence } from './silence.js';

/** A bigint of Postgres as a number: a seq stays below 2^53, and a row of the result is made for each event. */
const INT8 = 20;
export const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format: 'text' | 'binary') =>
    oid === INT8 ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

/**
 * Settings that decide how PostgreSQL writes a value as text. A login or a database may have its own; one row must be the same
 * text in every gateway.
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
 * For connections that read streams. The tables grow while a plan is kept: every read uses an index, however small the tables
 * are today, and is planned once.
 */
export const READ_SETTINGS = Object.entries({
  ...TEXT_SETTINGS,
  enable_seqscan: 'off',
  jit: 'off',
  plan_cache_mode: 'force_generic_plan',
})
  .map(([name, value]) => `SET ${name} = '${value}'`)
  .join('; ');

/** May read streams, and owns nothing. */
export const GATEWAY_ROLE = 'rowcast_gateway';

/** For every session of a gateway that reads or writes a table. */
export const AS_GATEWAY = `SET ROLE ${GATEWAY_ROLE}`;

/** How long one connection attempt may take, and the longest wait before the next; in milliseconds. */
export const CONNECT_TIMEOUT = 5_000;
const LONGEST_WAIT = 1_000;

/** How long to wait for a connection to close cleanly, in milliseconds. */
const GOODBYE = 2_000;

/** The result of `ending`, or undefined if it takes too long: stopping must not wait for a server that hangs. */
export async function soon<T>(ending: Promise<T>): Promise<T | undefined> {
  const stop = new AbortController();
  try {
    return await Promise.race([ending, delay(GOODBYE, undefined, { signal: stop.signal })]);
  } finally {
    stop.abort();
  }
}

/** An answer of the server has a SQLSTATE and leaves the connection usable, but for 57P (shutdown), 08, and 53 (it has no room), unless it is memory for one statement. */
export function isConnectionLoss(error: unknown): boolean {
  return !(error instanceof pg.DatabaseError) || /^(57P|08|53(?!200))/.test(error.code ?? '');
}

/** The server has cancelled the statement: it took longer than `statement_timeout`, or waited longer than `lock_timeout`. */
export function isTimeout(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === '57014' || error.code === '55P03');
}

/** A table or column that the statement names is not there any more, or may not be read any more. */
export function isOutdated(error: unknown): boolean {
  return error instanceof pg.DatabaseError && ['42P01', '42703', '42501'].includes(error.code ?? '');
}

/** The table is locked by another transaction: it waited longer than `lock_timeout`. */
export function isLockTimeout(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '55P03';
}

export interface SessionOptions {
  readonly databaseUrl: string;
  readonly name: string;
  /** In milliseconds. A query during which the server sends nothing for longer costs the connection. */
  readonly silenceTimeout: number;
  readonly health: ConnectionHealth;
  /** Sets up each new connection, before its first query. */
  readonly prepare: (client: pg.Client) => Promise<void>;
  readonly onConnected: () => void;
}

/** One connection that is always opened again: whatever ends it, the next one follows. */
export class Session {
  readonly #databaseUrl: string;
  readonly #name: string;
  readonly #silenceTimeout: number;
  readonly #health: ConnectionHealth;
  readonly #prepare: (client: pg.Client) => Promise<void>;
  readonly #onConnected: () => void;
  readonly #stop = new AbortController();
  #client: pg.Client | null = null;
  /** A query is on its way. */
  #asking = false;
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

  /** Opens the first connection. Rejects with the error of PostgreSQL if it cannot; later ones are retried for ever. */
  async start(): Promise<void> {
    this.#running = this.#keep(await this.#connect());
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    const client = this.#client;
    if (client !== null) {
      await soon(client.end());
      this.#lose(client);
    }
    await this.#running;
  }

  /**
   * Runs one query after the other, in the order of the calls: the snapshot of a later call is never the older one.
   * Rejects with `Unavailable` while there is no connection, when it is lost under the query, or when the query takes too
   * long.
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
      this.#asking = true;
      return (await client.query<R>(query)).rows;
    } catch (error) {
      const tooSlow = isTimeout(error);
      if (!tooSlow && !isConnectionLoss(error)) throw error;
      if (!tooSlow) this.#lose(client);
      throw new Unavailable(`${this.#name}: ${(error as Error).message}`, { cause: error });
    } finally {
      this.#asking = false;
    }
  }

  #lose(client: pg.Client): void {
    if (this.#client === client) this.#client = null;
    // `end` alone would wait for a server that may not answer any more.
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }

  /** Resolves when connected; the promise it returns resolves when that connection has ended, with the reason. */
  async #connect(): Promise<{ ended: Promise<Error> }> {
    const client: pg.Client = new pg.Client({
      ...connectOptions(this.#databaseUrl),
      application_name: `rowcast ${this.#name}`,
      connectionTimeoutMillis: CONNECT_TIMEOUT,
      stream: endsInSilence(this.#silenceTimeout, () => this.#asking || this.#client !== client),
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
        this.#health.stands(this.#name);
        ({ ended } = next);
        break;
      }
    }
  }
}
