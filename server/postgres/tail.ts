import { createHash } from 'node:crypto';
import pg from 'pg';
import { z } from 'zod';
import type { Doorbell } from '../doorbell/doorbell.js';
import { Batch } from '../ground/batch.js';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import { Unavailable } from '../ground/refusal.js';
import type { Clock } from '../ports/clock.js';
import type { ReadableTail, TailRead } from '../ports/doorbell.js';
import type { ChannelState, Feed, Movement, Movements, StoredRow } from '../ports/feed.js';
import { Catalog } from './catalog.js';
import { ConnectionHealth } from './connection-health.js';
import { AS_GATEWAY, isTimeout, READ_SETTINGS, Session } from './session.js';
import { headsStatement, MOVED_CHANNELS, openStatement, TAIL_ROWS, tailStatement } from './statements.js';
import type { Stream } from './streams.js';

const SNAPSHOT = /^(\d+):(\d+):/;

const readRow = z.object({
  snapshot: z.string().regex(SNAPSHOT),
  revision: z.number(),
  stream_id: z.number().nullable(),
  epoch: z.string().nullable(),
  key: z.string().nullable(),
  seq: z.number().nullable(),
  tx: z.string().nullable(),
  json: z.string().nullable(),
});
type ReadRow = z.infer<typeof readRow>;

const openRow = z.object({ at: z.number(), epoch: z.string(), floor: z.number(), head: z.number() });

/** What has to be rung: a doorbell. */
type Bell = Pick<Doorbell, 'ring'>;

/** In milliseconds: while one table is locked (VACUUM FULL, ALTER TABLE), a read of all streams waits for it so long. */
const LOCK_TIMEOUT = 100;

/** Channels whose state is asked for in one statement. */
const OPEN_AT_ONCE = 500;

export interface TailOptions {
  readonly databaseUrl: string;
  readonly silenceTimeout: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly health?: ConnectionHealth;
  readonly metrics: Metrics;
}

/**
 * The feed that PostgreSQL is: reads what became visible since it last read, exactly, and reports which of the open
 * channels have moved. Opening a channel is read on the same connection, in turn: a row that is too new for the state
 * it returns is, for the same reason, not yet behind the tail.
 */
export class Tail implements Feed, ReadableTail {
  readonly #options: TailOptions;
  readonly #session: Session;
  /** The streams. Loading them again because they cannot be loaded would wait for itself, hence `ask`. */
  readonly catalog = new Catalog(
    (query, values, row) => this.#ask(query, values, row),
    () => this.#movements?.recheckAll(),
  );
  /** Channels that were opened and not left; movements of others are dropped here. */
  readonly #open = new Set<string>();
  readonly #opens = new WeakMap<Stream, Batch<string, ChannelState | null>>();
  /** The statements, and the streams that they were made for. */
  #made = { for: [] as readonly Stream[], rows: named(''), heads: named('') };
  #snapshot = '';
  /** Null before it is started. */
  #movements: Movements | null = null;
  #bell: Bell | null = null;
  #lastRead = Number.NEGATIVE_INFINITY;
  /** The last read could not name all that was written. */
  #overtaxed = false;

  constructor(options: TailOptions) {
    const { databaseUrl, silenceTimeout, logger, health = new ConnectionHealth(logger) } = options;
    this.#options = options;
    this.#session = new Session({
      databaseUrl,
      name: 'tail',
      silenceTimeout,
      health,
      prepare: (client) => this.#prepare(client),
      onConnected: () => this.#connected(),
    });
  }

  get connected(): boolean {
    return this.#session.connected;
  }

  /** When it was last read, by the clock. */
  get lastRead(): number {
    return this.#lastRead;
  }

  /** Rings `bell` each time that a connection stands: what was committed meanwhile is to be read. */
  ringWhenConnected(bell: Bell): void {
    this.#bell = bell;
  }

  start(movements: Movements): Promise<void> {
    this.#movements = movements;
    return this.#session.start();
  }

  stop(): Promise<void> {
    return this.#session.stop();
  }

  async read(): Promise<TailRead> {
    try {
      const read = await this.#read();
      this.#lastRead = this.#options.clock.now();
      return read;
    } catch (error) {
      // A connection that is gone is logged once, by its session, not at every read that would need it.
      if (!(error instanceof Unavailable)) this.#options.logger.error({ err: error }, 'the tail could not be read');
      throw error;
    }
  }

  async #read(): Promise<TailRead> {
    const { rows, complete } = await this.#readRows().catch((error: unknown) => {
      if (isOutdated(error)) return this.#readRows(); // the statements have been made anew
      throw error;
    });
    const [first] = rows;
    if (first === undefined) throw new Error('the tail returned no row');
    const before = parseSnapshot(this.#snapshot);
    const snapshot = parseSnapshot(first.snapshot);
    // Transaction numbers run backwards only in another cluster: a standby that took over, a restored backup.
    const elsewhere = snapshot.xmax < before.xmax;
    // Before the movements are told: they may be of streams that were not known yet.
    await this.catalog.seen(first.revision);
    for (const movement of this.#movementsIn(rows)) this.#movements?.moved(movement);
    // Only now: had anything failed before, these rows would have to be read again.
    this.#snapshot = first.snapshot;
    // And not before the snapshot was taken: a channel that is opened meanwhile has to be asked as well.
    if (elsewhere || !complete || rows.length > MOVED_CHANNELS) this.#movements?.recheckAll();
    const commits = first.stream_id === null ? 0 : new Set(rows.map(({ tx }) => tx)).size;
    this.#options.metrics.commits.inc(commits);
    return { commits, xmin: snapshot.xmin };
  }

  /** The number is used up by asking for it. */
  async newestTransaction(): Promise<bigint> {
    const statement = { name: 'newest', text: 'SELECT pg_current_xact_id()::text AS xid' };
    const [row] = await this.#query(statement, [], z.object({ xid: z.string().regex(/^\d+$/) }));
    return BigInt(row?.xid ?? 0);
  }

  /** As a writer does. */
  async ring(): Promise<void> {
    await this.#query({ name: 'ring', text: `SELECT pg_notify('rowcast', '')` }, [], z.object({}));
  }

  async open(channel: string): Promise<ChannelState | null> {
    // Before anything is asked: a movement that is read in the meantime may be one that the state misses.
    this.#open.add(channel);
    const found = await this.catalog.find(channel);
    return found === null ? null : this.#batchOf(found.stream).ask(found.key);
  }

  leave(channel: string): void {
    this.#open.delete(channel);
  }

  #connected(): void {
    this.#bell?.ring();
    this.#movements?.recheckAll(); // it may be another server than before
  }

  async #query<T>(query: { name: string; text: string }, values: unknown[], row: z.ZodType<T>): Promise<T[]> {
    try {
      return await this.#ask(query, values, row);
    } catch (error) {
      if (isOutdated(error)) await this.catalog.load();
      throw error;
    }
  }

  async #ask<T>(query: { name: string; text: string }, values: unknown[], row: z.ZodType<T>): Promise<T[]> {
    return z.array(row).parse(await this.#session.query({ ...query, values }));
  }

  async #prepare(client: pg.Client): Promise<void> {
    await client.query(`${AS_GATEWAY};${READ_SETTINGS}`);
    // Before the client gives up the connection: an answer that says so leaves it usable.
    await client.query(`SET statement_timeout = ${Math.ceil(this.#options.silenceTimeout / 2)}`);
    await client.query(`SET lock_timeout = ${LOCK_TIMEOUT}`);
    const { rows } = await client.query<{ now: string }>('SELECT pg_current_snapshot()::text AS now');
    await this.catalog.prepare(client);
    // A connection that was lost goes on where it was: the rows of the meantime are read like any others.
    if (this.#snapshot === '') this.#snapshot = rows[0]?.now ?? '';
  }

  #statements(): { rows: ReturnType<typeof named>; heads: ReturnType<typeof named> } {
    const { streams } = this.catalog;
    if (this.#made.for !== streams) {
      this.#made = { for: streams, rows: named(tailStatement(streams)), heads: named(headsStatement(streams)) };
    }
    return this.#made;
  }

  #batchOf(stream: Stream): Batch<string, ChannelState | null> {
    let batch = this.#opens.get(stream);
    if (batch === undefined) {
      const statement = named(openStatement(stream));
      batch = new Batch(
        async (keys) => {
          this.#options.metrics.opens.inc();
          const found = await this.#query(statement, [keys], openRow);
          const states = new Map(found.map(({ at, ...state }) => [at, state]));
          return keys.map((_, index) => states.get(index + 1) ?? null);
        },
        OPEN_AT_ONCE,
        1,
      );
      this.#opens.set(stream, batch);
    }
    return batch;
  }

  /** Not `complete`: what the rows do not tell was in the table as well when they were read. */
  async #readRows(): Promise<{ rows: ReadRow[]; complete: boolean }> {
    try {
      let rows = await this.#query(this.#statements().rows, [this.#snapshot], readRow);
      // Too many to come along: where their channels stand is enough, and who reads one asks for its pages.
      if (rows.length > TAIL_ROWS) rows = await this.#query(this.#statements().heads, [this.#snapshot], readRow);
      this.#overtaxed = false;
      return { rows, complete: true };
    } catch (error) {
      if (!(error instanceof Unavailable && isTimeout(error.cause))) throw error;
      // Trying again would take no less.
      if (!this.#overtaxed) this.#options.logger.warn('too much was written to be named in time, or a table is locked');
      this.#overtaxed = true;
      return { rows: await this.#query(named(tailStatement([])), [this.#snapshot], readRow), complete: false };
    }
  }

  #movementsIn(rows: readonly ReadRow[]): Movement[] {
    const channels = new Map<string, ReadRow[]>();
    for (const row of rows) {
      const name = row.stream_id === null ? undefined : this.catalog.byId(row.stream_id)?.name;
      if (name === undefined) continue;
      const channel = `${name}:${row.key}`;
      if (!this.#open.has(channel)) continue;
      const events = channels.get(channel);
      if (events === undefined) channels.set(channel, [row]);
      else events.push(row);
    }
    return [...channels].map(([channel, events]) => toMovement(channel, events));
  }
}

/** Of one channel, in any order. A channel has no holes, so the rows up to the first that stayed behind are a run. */
function toMovement(channel: string, events: ReadRow[]): Movement {
  events.sort((a, b) => (a.seq ?? 0) - (b.seq ?? 0));
  const rows: StoredRow[] = [];
  for (const { seq, json } of events) {
    if (seq === null || json === null) break;
    rows.push({ seq, json });
  }
  return { channel, epoch: events[0]?.epoch ?? '', head: events.at(-1)?.seq ?? 0, rows };
}

function parseSnapshot(text: string): { xmin: bigint; xmax: bigint } {
  const [, xmin = '0', xmax = '0'] = SNAPSHOT.exec(text) ?? [];
  return { xmin: BigInt(xmin), xmax: BigInt(xmax) };
}

/** A table or column that the statement names is not there any more, or may not be read any more. */
export function isOutdated(error: unknown): boolean {
  return error instanceof pg.DatabaseError && ['42P01', '42703', '42501'].includes(error.code ?? '');
}

/** A statement that Postgres keeps prepared under a name that changes with its text. */
export function named(text: string): { name: string; text: string } {
  return { name: createHash('sha1').update(text).digest('hex').slice(0, 16), text };
}
