/**
 * The tail: reads the rows that became visible since its last read, exactly once each, and reports movements of the open channels
 * to the hub. The state of a channel is read on the same connection, in turn, so that a row is either in the state or in a
 * later movement. The doorbell decides when it reads. A stream that cannot be read does not affect the others.
 */
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
import type { ChannelState, Feed, Movement, Movements } from '../ports/feed.js';
import { RowTexts } from '../ports/row-texts.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import { Catalog } from './catalog.js';
import { ConnectionHealth } from './connection-health.js';
import { makePool } from './pool.js';
import { requireSession } from './pooler.js';
import { checkRows, type Statement } from './rows.js';
import { AS_GATEWAY, isOutdated, READ_SETTINGS, Session, withGrace } from './session.js';
import { MOVED_CHANNELS, named, ofStream, openStatement, probeStatement } from './statements.js';
import { StreamHealth, type StreamReport } from './stream-health.js';
import type { Stream } from './streams.js';
import { type Found, isGone, type ReadRow, SNAPSHOT, TailReads } from './tail-reads.js';

const statementOfOpen = ofStream(openStatement);
const openRow = z.object({ at: z.number(), epoch: z.string(), floor: z.number(), head: z.number() });

/** The doorbell, as the tail uses it. */
type Bell = Pick<Doorbell, 'ring'>;

/** The lock timeout of a read of all streams, in milliseconds. One table may be locked by VACUUM FULL or ALTER TABLE. */
const LOCK_TIMEOUT = 50;

/** The statement timeout of a read, in milliseconds. After it, each stream is read alone, which shows the slow one. */
const READ_TIMEOUT = 500;

/** Maximum number of channels whose state is read in one statement. */
const OPEN_AT_ONCE = 500;

const STANDBY =
  'the server is a hot standby, whose snapshots do not show which transactions are open: connect to the primary';

export interface TailOptions {
  readonly databaseUrl: DatabaseUrl;
  readonly silenceTimeout: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly health?: ConnectionHealth;
  readonly metrics: Metrics;
  /** Told after each read which streams had new rows. */
  readonly onRows?: (streams: ReadonlySet<string>) => void;
}

export class Tail implements Feed, ReadableTail {
  readonly #options: TailOptions;
  readonly #session: Session;
  /** The streams. It uses `#ask`, which does not load the catalog after an error: that would wait for itself. */
  readonly catalog = new Catalog(
    (query, values, row) => this.#ask(query, values, row),
    () => this.#movements?.recheckAll(),
  );
  /** Open channels. Movements of others are dropped. */
  readonly #open = new Set<string>();
  readonly #opens = new WeakMap<Stream, Batch<string, ChannelState | null | StreamUnreadable>>();
  readonly #health: StreamHealth;
  readonly #reads: TailReads;
  /** Probes streams that are out, on a connection of its own, so that the tail does not wait for the result. */
  readonly #probes: pg.Pool;
  /** Channels for which a failed read of their state was logged. */
  readonly #logged = new Once();
  #snapshot = '';
  /** Null before `start`. */
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

  /** Reports on the streams that cannot be read, or not completely, by name. */
  get streams(): Record<string, StreamReport> {
    return this.#health.report();
  }

  get unreadable(): number {
    return this.#health.troubled;
  }

  /** The time of the last successful read, in milliseconds of the clock. */
  get lastRead(): number {
    return this.#lastRead;
  }

  /** Rings `bell` after each connection, to read what was committed in the meantime. */
  ringWhenConnected(bell: Bell): void {
    this.#bell = bell;
  }

  start(movements: Movements): Promise<void> {
    this.#movements = movements;
    return this.#session.start();
  }

  async stop(): Promise<void> {
    await Promise.all([this.#session.stop(), withGrace(this.#probes.end())]);
  }

  async read(): Promise<TailRead> {
    try {
      const read = await this.#read();
      this.#lastRead = this.#options.clock.now();
      return read;
    } catch (error) {
      // A lost connection is not logged here: the session logs it once.
      if (!(error instanceof Unavailable)) this.#options.logger.error({ err: error }, 'the tail could not be read');
      throw error;
    }
  }

  async #read(): Promise<TailRead> {
    this.#useCatalog();
    this.#health.settle();
    const { rows, failed } = await this.#readRows();
    const [first] = rows;
    if (first === undefined) throw new Error('the tail returned no row');
    const before = parseSnapshot(this.#snapshot);
    const snapshot = parseSnapshot(first.snapshot);
    // Transaction numbers decrease only on another cluster, after a failover or a restored backup.
    const elsewhere = snapshot.xmax < before.xmax;
    // Before the movements are reported, because they may belong to streams that are not known yet.
    await this.catalog.seen(first.revision);
    this.#useCatalog();
    for (const movement of this.#movementsIn(rows)) this.#movements?.moved(movement);
    // Only now: if anything above fails, these rows must be read again.
    this.#snapshot = first.snapshot;
    // After the snapshot is stored, so that channels that are opened in the meantime are included.
    if (elsewhere || rows.length > MOVED_CHANNELS) this.#movements?.recheckAll();
    for (const { name } of failed) this.#movements?.recheck(name);
    this.#options.onRows?.(this.#streamsOf(rows));
    void this.#probe();
    const commits = first.stream_id === null ? 0 : new Set(rows.map(({ tx }) => tx)).size;
    this.#options.metrics.commits.inc(commits);
    return { commits, xmin: snapshot.xmin };
  }

  /** Assigns a new transaction number and returns it. */
  async newestTransaction(): Promise<bigint> {
    const statement = { name: 'newest', text: 'SELECT pg_current_xact_id()::text AS xid' };
    const [row] = await this.#ask(statement, [], z.object({ xid: z.string().regex(/^\d+$/) }));
    return BigInt(row?.xid ?? 0);
  }

  /** Sends the notification that writers send. */
  async ring(): Promise<void> {
    await this.#ask({ name: 'ring', text: `SELECT pg_notify('rowcast', '')` }, [], z.object({}));
  }

  async open(channel: string): Promise<ChannelState | null> {
    // Before the state is read: a movement that is reported in the meantime may be missing in the state.
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
    this.#movements?.recheckAll(); // it may be another server, after a failover
  }

  async #ask<T>(statement: Statement, values: unknown[], row: z.ZodType<T>): Promise<T[]> {
    return checkRows(statement, await this.#session.query({ ...statement, values }), row);
  }

  async #prepare(client: pg.Client): Promise<void> {
    await client.query(`${AS_GATEWAY};${READ_SETTINGS}`);
    const { rows: server } = await client.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby');
    // Snapshots of a standby do not contain the transactions that are open on the primary: their rows would never be found.
    if (server[0]?.standby) throw new Error(STANDBY);
    await requireSession(client, this.#options.databaseUrl);
    const { rows } = await client.query<{ now: string }>('SELECT pg_current_snapshot()::text AS now');
    await this.catalog.prepare(client);
    await client.query(this.#limits);
    // After a lost connection the old snapshot is kept, so that the rows written in the meantime are read.
    if (this.#snapshot === '') this.#snapshot = rows[0]?.now ?? '';
  }

  /** Timeouts shorter than that of the client: a statement that the server cancels leaves the connection usable. */
  get #limits(): string {
    const { silenceTimeout } = this.#options;
    const longest = Math.ceil(Math.min(READ_TIMEOUT, silenceTimeout / 2));
    // A ring is a commit. It must not wait for the disk, or for a standby: it makes nothing durable, and the next read would wait for it.
    return `SET statement_timeout = ${longest}; SET lock_timeout = ${LOCK_TIMEOUT}; SET synchronous_commit = off`;
  }

  /** Takes over the streams of the catalog, which may have changed or have problems. */
  #useCatalog(): void {
    for (const { name } of this.#health.use(this.catalog.streams)) this.#movements?.recheck(name);
  }

  async #readRows(): Promise<Found> {
    try {
      return await this.#reads.together(this.catalog.streams, this.#snapshot);
    } catch (error) {
      if (isGone(error)) throw error;
      if (isOutdated(error)) await this.catalog.load();
      this.#useCatalog();
      return this.#reads.apart(this.#snapshot);
    }
  }

  /** Tests whether streams that are out can be read again. */
  async #probe(): Promise<void> {
    for (const stream of this.#health.due()) {
      if (stream.problem !== null) {
        this.#health.again(stream);
        await this.catalog.load().catch(() => {}); // the next read reports the error
        this.#useCatalog();
        continue;
      }
      try {
        await this.#probes.query({ ...named(probeStatement(stream)), values: [this.#snapshot] });
        this.#health.well(stream);
        // The tail does not go back: rows written before are included in the state of the channels.
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
    this.#useCatalog();
    this.#health.check(found.stream);
    return this.#batchOf(found.stream).ask(found.key);
  }

  #batchOf(stream: Stream): Batch<string, ChannelState | null | StreamUnreadable> {
    const batch = this.#opens.get(stream) ?? new Batch((keys) => this.#states(stream, keys), OPEN_AT_ONCE, 1);
    this.#opens.set(stream, batch);
    return batch;
  }

  /** If one channel makes the statement fail, the keys are halved until it is alone. */
  async #states(stream: Stream, keys: readonly string[]): Promise<(ChannelState | null | StreamUnreadable)[]> {
    try {
      this.#options.metrics.opens.inc();
      const found = await this.#ask(statementOfOpen(stream), [keys], openRow);
      const states = new Map(found.map(({ at, ...state }) => [at, state]));
      for (const key of keys) this.#logged.forget(`${stream.name}:${key}`);
      return keys.map((_, index) => states.get(index + 1) ?? null);
    } catch (error) {
      if (isGone(error)) throw error;
      if (error instanceof Unavailable) {
        // Every further statement for this stream would delay the tail as long.
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
      if (this.#logged.first(channel)) this.#options.logger.error({ channel, err: error }, 'a channel cannot be read');
      return keys.map(() => new StreamUnreadable(stream.name, { cause: error }));
    }
  }

  #streamsOf(rows: readonly ReadRow[]): Set<string> {
    const ids = new Set(rows.map(({ stream_id }) => stream_id));
    return new Set([...ids].flatMap((id) => (id === null ? [] : (this.catalog.byId(id)?.name ?? []))));
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

/** Makes a movement from the events of one channel in any order. Rows are taken up to a gap, or the first without a text. */
function toMovement(channel: string, events: ReadRow[]): Movement {
  events.sort((a, b) => (a.seq ?? 0) - (b.seq ?? 0));
  const from = events[0]?.seq ?? 0;
  const texts: string[] = [];
  for (const { seq, json } of events) {
    if (json === null || seq !== from + texts.length) break;
    texts.push(json);
  }
  const head = events.at(-1)?.seq ?? 0;
  return { channel, epoch: events[0]?.epoch ?? '', head, rows: RowTexts.of(from, texts) };
}

function parseSnapshot(text: string): { xmin: bigint; xmax: bigint } {
  const [, xmin = '0', xmax = '0'] = SNAPSHOT.exec(text) ?? [];
  return { xmin: BigInt(xmin), xmax: BigInt(xmax) };
}
