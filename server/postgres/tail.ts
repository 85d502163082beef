import pg from 'pg';
import { z } from 'zod';
import type { Doorbell } from '../doorbell/doorbell.js';
import { Batch } from '../ground/batch.js';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import { Once } from '../ground/once.js';
import { StreamUnreadable, Unavailable } from '../ground/refusal.js';
import type { Clock } from '../ports/clock.js';
import type { ReadableTail, TailRead } from '../ports/doorbell.js';
import type { ChannelState, Feed, Movement, Movements, StoredRow } from '../ports/feed.js';
import { Catalog } from './catalog.js';
import { ConnectionHealth } from './connection-health.js';
import { makePool } from './pool.js';
import { AS_GATEWAY, isOutdated, READ_SETTINGS, Session, soon } from './session.js';
import { MOVED_CHANNELS, named, openStatement, probeStatement } from './statements.js';
import { StreamHealth, type StreamReport } from './stream-health.js';
import type { Stream } from './streams.js';
import { type Found, isGone, type ReadRow, SNAPSHOT, TailReads } from './tail-reads.js';

const openRow = z.object({ at: z.number(), epoch: z.string(), floor: z.number(), head: z.number() });

/** What has to be rung: a doorbell. */
type Bell = Pick<Doorbell, 'ring'>;

/** In milliseconds: while one table is locked (VACUUM FULL, ALTER TABLE), a read of all streams waits for it so long. */
const LOCK_TIMEOUT = 50;

/** So long may one statement take, in milliseconds: a table that is slow to read is read apart from the others. */
const READ_TIMEOUT = 500;

/** Channels whose state is asked for in one statement. */
const OPEN_AT_ONCE = 500;

const STANDBY =
  'the server is a hot standby, whose snapshots do not show which transactions are open: let the address lead to the primary';

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
  readonly #opens = new WeakMap<Stream, Batch<string, ChannelState | null | StreamUnreadable>>();
  readonly #health: StreamHealth;
  readonly #reads: TailReads;
  /** Asks whether streams that are out can be read again, so that nobody else waits for the answer. */
  readonly #probes: pg.Pool;
  /** Channels of which was said that their state cannot be read. */
  readonly #told = new Once();
  #snapshot = '';
  /** Null before it is started. */
  #movements: Movements | null = null;
  #bell: Bell | null = null;
  #lastRead = Number.NEGATIVE_INFINITY;

  constructor(options: TailOptions) {
    const { databaseUrl, silenceTimeout, clock, logger, health = new ConnectionHealth(logger) } = options;
    this.#options = options;
    this.#health = new StreamHealth(clock, logger);
    this.#reads = new TailReads((query, values, row) => this.#ask(query, values, row), this.#health);
    this.#probes = makePool({
      databaseUrl,
      name: 'probe',
      size: 1,
      queryTimeout: silenceTimeout,
      logger,
      health,
      prepare: `${READ_SETTINGS}; ${this.#limits}`,
    });
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

  /** The streams that cannot be read as they should, by their names. */
  get streams(): Record<string, StreamReport> {
    return this.#health.report();
  }

  get unreadable(): number {
    return this.#health.troubled;
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

  async stop(): Promise<void> {
    await Promise.all([this.#session.stop(), soon(this.#probes.end())]);
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
    this.#look();
    this.#health.settle();
    const { rows, failed } = await this.#readRows();
    const [first] = rows;
    if (first === undefined) throw new Error('the tail returned no row');
    const before = parseSnapshot(this.#snapshot);
    const snapshot = parseSnapshot(first.snapshot);
    // Transaction numbers run backwards only in another cluster: a standby that took over, a restored backup.
    const elsewhere = snapshot.xmax < before.xmax;
    // Before the movements are told: they may be of streams that were not known yet.
    await this.catalog.seen(first.revision);
    this.#look();
    for (const movement of this.#movementsIn(rows)) this.#movements?.moved(movement);
    // Only now: had anything failed before, these rows would have to be read again.
    this.#snapshot = first.snapshot;
    // And not before the snapshot was taken: a channel that is opened meanwhile has to be asked as well.
    if (elsewhere || rows.length > MOVED_CHANNELS) this.#movements?.recheckAll();
    for (const { name } of failed) this.#movements?.recheck(name);
    void this.#probe();
    const commits = first.stream_id === null ? 0 : new Set(rows.map(({ tx }) => tx)).size;
    this.#options.metrics.commits.inc(commits);
    return { commits, xmin: snapshot.xmin };
  }

  /** The number is used up by asking for it. */
  async newestTransaction(): Promise<bigint> {
    const statement = { name: 'newest', text: 'SELECT pg_current_xact_id()::text AS xid' };
    const [row] = await this.#ask(statement, [], z.object({ xid: z.string().regex(/^\d+$/) }));
    return BigInt(row?.xid ?? 0);
  }

  /** As a writer does. */
  async ring(): Promise<void> {
    await this.#ask({ name: 'ring', text: `SELECT pg_notify('rowcast', '')` }, [], z.object({}));
  }

  async open(channel: string): Promise<ChannelState | null> {
    // Before anything is asked: a movement that is read in the meantime may be one that the state misses.
    this.#open.add(channel);
    const state = await this.#stateOf(channel);
    if (!(state instanceof StreamUnreadable && isOutdated(state.cause))) return orThrow(state);
    await this.catalog.load();
    return orThrow(await this.#stateOf(channel));
  }

  leave(channel: string): void {
    this.#open.delete(channel);
  }

  #connected(): void {
    this.#bell?.ring();
    this.#movements?.recheckAll(); // it may be another server than before
  }

  async #ask<T>(query: { name: string; text: string }, values: unknown[], row: z.ZodType<T>): Promise<T[]> {
    return z.array(row).parse(await this.#session.query({ ...query, values }));
  }

  async #prepare(client: pg.Client): Promise<void> {
    await client.query(`${AS_GATEWAY};${READ_SETTINGS}`);
    const { rows: server } = await client.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby');
    // Its snapshots do not name the transactions that are open on the primary: what they wrote would never be found.
    if (server[0]?.standby) throw new Error(STANDBY);
    const { rows } = await client.query<{ now: string }>('SELECT pg_current_snapshot()::text AS now');
    await this.catalog.prepare(client);
    await client.query(this.#limits);
    // A connection that was lost goes on where it was: the rows of the meantime are read like any others.
    if (this.#snapshot === '') this.#snapshot = rows[0]?.now ?? '';
  }

  /** Before the client gives up the connection: an answer that says so leaves it usable. */
  get #limits(): string {
    const { silenceTimeout } = this.#options;
    const longest = Math.ceil(Math.min(READ_TIMEOUT, silenceTimeout / 2));
    return `SET statement_timeout = ${longest}; SET lock_timeout = ${LOCK_TIMEOUT}`;
  }

  /** The streams may be other ones than before, or be found to have a problem. */
  #look(): void {
    for (const { name } of this.#health.use(this.catalog.streams)) this.#movements?.recheck(name);
  }

  async #readRows(): Promise<Found> {
    try {
      return await this.#reads.together(this.catalog.streams, this.#snapshot);
    } catch (error) {
      if (isGone(error)) throw error;
      if (isOutdated(error)) await this.catalog.load();
      this.#look();
      return this.#reads.apart(this.#snapshot);
    }
  }

  /** Asks for the streams that are out whether they can be read again. */
  async #probe(): Promise<void> {
    for (const stream of this.#health.due()) {
      if (stream.problem !== null) {
        this.#health.again(stream);
        await this.catalog.load().catch(() => {}); // the next read says what is wrong
        this.#look();
        continue;
      }
      try {
        await this.#probes.query({ ...named(probeStatement(stream)), values: [this.#snapshot] });
        this.#health.well(stream);
        // The tail goes on from where it is: what was written before is in the state of the channels.
        this.#movements?.recheck(stream.name);
      } catch (error) {
        if (error instanceof pg.DatabaseError) this.#health.out(stream, error);
        else this.#health.postpone(stream);
      }
    }
  }

  async #stateOf(channel: string): Promise<ChannelState | null | StreamUnreadable> {
    const found = await this.catalog.find(channel);
    if (found === null) return null;
    this.#look();
    this.#health.check(found.stream);
    return this.#batchOf(found.stream).ask(found.key);
  }

  #batchOf(stream: Stream): Batch<string, ChannelState | null | StreamUnreadable> {
    const batch = this.#opens.get(stream) ?? new Batch((keys) => this.#states(stream, keys), OPEN_AT_ONCE, 1);
    this.#opens.set(stream, batch);
    return batch;
  }

  /** Where one channel makes the statement fail, the others are asked for without it. */
  async #states(stream: Stream, keys: readonly string[]): Promise<(ChannelState | null | StreamUnreadable)[]> {
    try {
      this.#options.metrics.opens.inc();
      const found = await this.#ask(named(openStatement(stream)), [keys], openRow);
      const states = new Map(found.map(({ at, ...state }) => [at, state]));
      for (const key of keys) this.#told.forget(`${stream.name}:${key}`);
      return keys.map((_, index) => states.get(index + 1) ?? null);
    } catch (error) {
      if (isGone(error)) throw error;
      if (error instanceof Unavailable) {
        // Each further question would keep the tail waiting as long.
        this.#health.out(stream, error.cause);
        this.#movements?.recheck(stream.name);
        throw new StreamUnreadable(stream.name, { cause: error.cause });
      }
      if (keys.length > 1 && !isOutdated(error)) {
        const half = Math.ceil(keys.length / 2);
        const first = await this.#states(stream, keys.slice(0, half));
        return [...first, ...(await this.#states(stream, keys.slice(half)))];
      }
      const channel = `${stream.name}:${keys[0]}`;
      if (this.#told.first(channel)) this.#options.logger.error({ channel, err: error }, 'a channel cannot be read');
      return keys.map(() => new StreamUnreadable(stream.name, { cause: error }));
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

function orThrow(state: ChannelState | null | StreamUnreadable): ChannelState | null {
  if (state instanceof StreamUnreadable) throw state;
  return state;
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
