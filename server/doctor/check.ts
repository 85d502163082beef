import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { z } from 'zod';
import { connectOptions } from '../postgres/connect-options.js';
import { GATEWAY_ROLE, types } from '../postgres/session.js';

export type Verdict = 'ok' | 'warning' | 'fault' | 'skipped';

export interface Outcome {
  readonly verdict: Verdict;
  readonly found: string;
  /** A statement, a command or a sentence that mends it; null where nothing has to be mended. */
  readonly fix: string | null;
}

export interface Finding extends Outcome {
  readonly name: string;
}

export interface Circumstances {
  readonly databaseUrl: string;
  /** Connections that one gateway opens, at most. */
  readonly gatewayConnections: number;
  /** A transaction that has been open for so many seconds is worth a word. */
  readonly longTransaction: number;
  /** The clock of this machine, in milliseconds since 1970. */
  readonly now: () => number;
}

export interface Check {
  readonly name: string;
  /** What it finds, one outcome for each thing that is wrong. What it throws is why it could not be made. */
  readonly run: (probe: Probe, circumstances: Circumstances) => Promise<Outcome | readonly Outcome[]>;
}

export const ok = (found: string): Outcome => ({ verdict: 'ok', found, fix: null });
export const warning = (found: string, fix: string): Outcome => ({ verdict: 'warning', found, fix });
export const fault = (found: string, fix: string): Outcome => ({ verdict: 'fault', found, fix });
export const skipped = (found: string): Outcome => ({ verdict: 'skipped', found, fix: null });

/** How long one check may take, and within it one statement on the server; in milliseconds. */
const CHECK_LIMIT = 8_000;
const STATEMENT_LIMIT = 5_000;

export const DOCTOR = 'rowcast doctor';

/** The connections of one check. Each check has its own, so that one that hangs holds up no other. */
export class Probe {
  readonly #databaseUrl: string;
  readonly #clients: pg.Client[] = [];
  #reader: Promise<pg.Client> | null = null;

  constructor(databaseUrl: string) {
    this.#databaseUrl = databaseUrl;
  }

  async connect(): Promise<pg.Client> {
    const client = new pg.Client({
      ...connectOptions(this.#databaseUrl),
      application_name: DOCTOR,
      connectionTimeoutMillis: STATEMENT_LIMIT,
      types,
    });
    client.on('error', () => {}); // what is under way rejects as well
    this.#clients.push(client);
    await client.connect();
    return client;
  }

  /** Reads without leaving anything behind, not even a setting: the session may be one of a pool. */
  read<T>(row: z.ZodType<T>, text: string, values: unknown[] = []): Promise<T[]> {
    return this.#read('', row, text, values);
  }

  /** Reads as the sessions of a gateway do: what they may not read, this may not read either. */
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

  /** For questions that have one row for an answer. */
  async readOne<T>(row: z.ZodType<T>, text: string, values: unknown[] = []): Promise<T> {
    const [first] = await this.read(row, text, values);
    if (first === undefined) throw new Error('the database gave no answer');
    return first;
  }

  async close(): Promise<void> {
    const stop = new AbortController();
    const ends = Promise.all(this.#clients.map((client) => client.end().catch(() => {})));
    // A server that does not answer does not say goodbye either.
    await Promise.race([ends, delay(GOODBYE, undefined, { signal: stop.signal }).catch(() => {})]);
    stop.abort();
  }
}

/** In milliseconds. */
const GOODBYE = 500;

/** Makes one check, within its time. */
export async function make({ name, run }: Check, circumstances: Circumstances): Promise<Finding[]> {
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

/** A duration for people, from milliseconds. */
export function lasting(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 1) return `${Math.round(milliseconds * 10) / 10} ms`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
