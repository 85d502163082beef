/**
 * The framework of `rowcast doctor`: a check runs queries through a `Probe` and returns outcomes. Each check has its own
 * connections and a time limit, so that one that hangs or fails does not affect the others. Nothing is changed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { z } from 'zod';
import { connectOptions } from '../postgres/connect-options.js';
import { GATEWAY_ROLE, types } from '../postgres/session.js';

export type Verdict = 'ok' | 'warning' | 'fault' | 'skipped';

export interface Outcome {
  readonly verdict: Verdict;
  readonly found: string;
  /** A statement, a command or a sentence that fixes it; null if there is nothing to fix. */
  readonly fix: string | null;
}

export interface Finding extends Outcome {
  readonly name: string;
}

export interface Circumstances {
  readonly databaseUrl: string;
  /** Maximum number of connections that one gateway opens. */
  readonly gatewayConnections: number;
  /** The age from which an open transaction is reported, in seconds. */
  readonly longTransaction: number;
  /** The clock of this machine, in milliseconds since 1970. */
  readonly now: () => number;
}

export interface Check {
  readonly name: string;
  /** Returns one outcome for each problem, or one if there is none. If it rejects, the check is reported as skipped. */
  readonly run: (probe: Probe, circumstances: Circumstances) => Promise<Outcome | readonly Outcome[]>;
}

export const ok = (found: string): Outcome => ({ verdict: 'ok', found, fix: null });
export const warning = (found: string, fix: string): Outcome => ({ verdict: 'warning', found, fix });
export const fault = (found: string, fix: string): Outcome => ({ verdict: 'fault', found, fix });
export const skipped = (found: string): Outcome => ({ verdict: 'skipped', found, fix: null });

/** The time limits of a check, and of one statement on the server, in milliseconds. */
const CHECK_LIMIT = 8_000;
const STATEMENT_LIMIT = 5_000;

export const DOCTOR = 'rowcast doctor';

/** The connections of one check. */
export class Probe {
  readonly #databaseUrl: string;
  readonly #clients: pg.Client[] = [];
  #reader: Promise<pg.Client> | null = null;

  constructor(databaseUrl: string) {
    this.#databaseUrl = databaseUrl;
  }

  /** Opens a connection, which `close` closes. */
  async connect(): Promise<pg.Client> {
    const client = new pg.Client({
      ...connectOptions(this.#databaseUrl),
      application_name: DOCTOR,
      connectionTimeoutMillis: STATEMENT_LIMIT,
      types,
    });
    client.on('error', () => {}); // the pending query rejects as well
    this.#clients.push(client);
    await client.connect();
    return client;
  }

  /** Reads in a transaction that is rolled back, so that no setting remains: the session may belong to a pooler. */
  read<T>(row: z.ZodType<T>, text: string, values: unknown[] = []): Promise<T[]> {
    return this.#read('', row, text, values);
  }

  /** Reads with the rights of the sessions of a gateway. */
  readAsGateway<T>(row: z.ZodType<T>, text: string, values: unknown[] = []): Promise<T[]> {
    return this.#read(`SET LOCAL ROLE ${GATEWAY_ROLE}`, row, text, values);
  }

  async #read<T>(role: string, row: z.ZodType<T>, text: string, values: unknown[]): Promise<T[]> {
    this.#reader ??= this.connect();
    const client = await this.#reader;
    try {
      await client.query(`BEGIN READ ONLY; SET LOCAL statement_timeout = ${STATEMENT_LIMIT}; ${role}`);
      return row.array().parse((await client.query(text, values)).rows);
    } finally {
      await client.query('ROLLBACK').catch(() => {});
    }
  }

  /** Reads a result of one row. Rejects if there is none. */
  async readOne<T>(row: z.ZodType<T>, text: string, values: unknown[] = []): Promise<T> {
    const [first] = await this.read(row, text, values);
    if (first === undefined) throw new Error('the database returned no row');
    return first;
  }

  async close(): Promise<void> {
    const stop = new AbortController();
    const ends = Promise.all(this.#clients.map((client) => client.end().catch(() => {})));
    // A server that does not respond does not close connections either.
    await Promise.race([ends, delay(CLOSE_TIMEOUT, undefined, { signal: stop.signal }).catch(() => {})]);
    stop.abort();
  }
}

/** How long to wait for connections to close, in milliseconds. */
const CLOSE_TIMEOUT = 500;

/** Runs one check within its time limit. Never rejects. */
export async function runCheck({ name, run }: Check, circumstances: Circumstances): Promise<Finding[]> {
  const probe = new Probe(circumstances.databaseUrl);
  const stop = new AbortController();
  const late = delay(CHECK_LIMIT, undefined, { signal: stop.signal }).then(
    () => skipped(`took longer than ${CHECK_LIMIT / 1000} s`),
    () => skipped('was stopped'),
  );
  try {
    const outcomes = [await Promise.race([run(probe, circumstances), late])].flat();
    return outcomes.map((outcome) => ({ name, ...outcome }));
  } catch (error) {
    return [{ name, ...skipped(`could not be checked: ${(error as Error).message}`) }];
  } finally {
    stop.abort();
    await probe.close();
  }
}

/** Formats a duration in milliseconds for people. */
export function formatDuration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 1) return `${Math.round(milliseconds * 10) / 10} ms`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
