import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Random } from '../../support/random.js';
import { type Content, makeContent } from '../content.js';
import { type Database, isAnswer } from '../database.js';
import type { StreamName } from '../schema.js';
import { Ledger } from './ledger.js';

/** Something a writer met that it should not have. */
export interface WriterFault {
  readonly at: number;
  readonly writer: number;
  readonly what: string;
}

/** An INSERT into a channel that no other writer uses may wait so long, in milliseconds. */
const LONGEST_WAIT = 1_000;
const CONNECT_AGAIN = 50;
/** What PostgreSQL itself says to transactions that have to be tried again. */
const DEADLOCK = '40P01';
const SERIALIZATION = ['40001', '23505'];

export type Isolation = 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE';

interface Transaction {
  insert(rows: readonly Content[], stream?: StreamName): Promise<void>;
  /** What was inserted since `savepoint` is rolled back. */
  undo(work: () => Promise<void>): Promise<void>;
}

const columns = 'key, writer, counter, body, checksum';
const statement = (stream: StreamName) => ({
  name: `insert ${stream}`,
  text: `INSERT INTO campaign.${stream} (${columns})
    SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::bigint[])`,
});

function valuesOf(rows: readonly Content[]): unknown[] {
  const of = (field: keyof Content) => rows.map((row) => row[field]);
  return [of('key'), of('writer'), of('counter'), of('body'), of('checksum')];
}

/** One session that writes straight to PostgreSQL, notes what became of each row, and comes back when it is cut off. */
export class Writer {
  readonly id: number;
  readonly ledger: Ledger;
  readonly faults: WriterFault[] = [];
  /** How long each INSERT into its own channels took outside of excused times, in milliseconds. */
  readonly waits: number[] = [];
  retries = 0;
  failures = 0;
  readonly #database: Database;
  readonly #random: Random;
  #client: pg.Client | null = null;

  constructor(id: number, database: Database, random: Random) {
    this.id = id;
    this.ledger = new Ledger(id);
    this.#database = database;
    this.#random = random;
  }

  /** New rows for these channels, in this order. */
  rows(keys: readonly string[]): Content[] {
    return keys.map((key) => makeContent(key, this.id, this.ledger.next(), this.#random));
  }

  /** When rows were committed, where somebody wants to know; in milliseconds of `performance.now`. */
  onCommitted: (rows: readonly Content[], at: number) => void = () => {};

  /** One statement that is its own transaction. `own`: nobody else writes to these channels, so it must not wait. */
  async insert(keys: readonly string[], { own = false, stream = 'plain' as StreamName } = {}): Promise<void> {
    const rows = this.rows(keys);
    const counters = rows.map(({ counter }) => counter);
    const client = await this.#connected();
    const from = performance.now();
    try {
      await client.query({ ...statement(stream), values: valuesOf(rows) });
      this.ledger.committed(counters);
      this.onCommitted(rows, performance.now());
    } catch (error) {
      if (isAnswer(error)) this.ledger.rolledBack(counters);
      else this.ledger.lost(counters);
      this.#failed(error, from, []);
    }
    if (own) this.#waited(from);
  }

  /** A transaction, tried again for as long as PostgreSQL says that it should be. */
  async transact(
    isolation: Isolation,
    work: (transaction: Transaction) => Promise<void>,
    mayDeadlock = false,
  ): Promise<void> {
    const expected = [...(isolation === 'READ COMMITTED' ? [] : SERIALIZATION), ...(mayDeadlock ? [DEADLOCK] : [])];
    while (!(await this.#attempt(isolation, work, expected))) {
      this.retries += 1;
      await delay(this.#random.int(1, 20));
    }
  }

  /** A transaction that thinks better of it. */
  async rollBack(keys: readonly string[]): Promise<void> {
    const changedMind = new Error('rolled back on purpose');
    await this.#attempt(
      'READ COMMITTED',
      async ({ insert }) => {
        await insert(this.rows(keys));
        throw changedMind;
      },
      [],
      changedMind,
    );
  }

  async end(): Promise<void> {
    await this.#client?.end().catch(() => {});
  }

  /** Resolves with false if it has to be tried again. */
  async #attempt(
    isolation: Isolation,
    work: (transaction: Transaction) => Promise<void>,
    expected: readonly string[],
    onPurpose?: Error,
  ): Promise<boolean> {
    const client = await this.#connected();
    const from = performance.now();
    let counters: number[] = [];
    const inserted: Content[] = [];
    let committing = false;
    const transaction: Transaction = {
      async insert(rows, stream = 'plain') {
        counters.push(...rows.map(({ counter }) => counter));
        inserted.push(...rows);
        await client.query({ ...statement(stream), values: valuesOf(rows) });
      },
      undo: async (undone) => {
        const before = counters;
        const kept = inserted.length;
        counters = [];
        await client.query('SAVEPOINT undo');
        try {
          await undone();
          await client.query('ROLLBACK TO SAVEPOINT undo');
        } finally {
          this.ledger.rolledBack(counters);
          counters = before;
          inserted.length = kept;
        }
      },
    };
    try {
      await client.query(`BEGIN ISOLATION LEVEL ${isolation}`);
      await work(transaction);
      committing = true;
      await client.query('COMMIT');
      this.ledger.committed(counters);
      this.onCommitted(inserted, performance.now());
      return true;
    } catch (error) {
      if (committing && !isAnswer(error)) this.ledger.lost(counters);
      else this.ledger.rolledBack(counters);
      if (error !== onPurpose) this.#failed(error, from, expected);
      if (this.#client === client) await client.query('ROLLBACK').catch(() => this.#drop(client));
      return error === onPurpose || !isAnswer(error) || !expected.includes((error as pg.DatabaseError).code ?? '');
    }
  }

  #failed(error: unknown, from: number, expected: readonly string[]): void {
    const code = error instanceof pg.DatabaseError ? (error.code ?? '') : '';
    if (!isAnswer(error) && this.#client !== null) this.#drop(this.#client);
    if (expected.includes(code)) return;
    this.failures += 1;
    if (this.#database.excused(from, performance.now())) return;
    this.#fault(`failed: ${code} ${(error as Error).message}`);
  }

  #waited(from: number): void {
    const now = performance.now();
    if (this.#database.excused(from, now)) return;
    this.waits.push(now - from);
    if (now - from > LONGEST_WAIT) this.#fault(`an INSERT into a channel of its own took ${Math.round(now - from)} ms`);
  }

  #fault(what: string): void {
    this.faults.push({ at: performance.now(), writer: this.id, what });
  }

  #drop(client: pg.Client): void {
    if (this.#client === client) this.#client = null;
    client.end().catch(() => {});
  }

  async #connected(): Promise<pg.Client> {
    while (this.#client === null) {
      const from = performance.now();
      try {
        const client = await this.#database.connect('campaign writer');
        client.on('error', () => this.#drop(client));
        client.on('end', () => this.#drop(client));
        this.#client = client;
      } catch (error) {
        if (!this.#database.excused(from, performance.now()))
          this.#fault(`cannot connect: ${(error as Error).message}`);
        await delay(CONNECT_AGAIN);
      }
    }
    return this.#client;
  }
}
