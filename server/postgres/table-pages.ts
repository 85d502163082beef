/**
 * Reads pages of channels from the tables, over a pool. Concurrent requests for channels of one stream are combined in one
 * statement, and a slow stream leaves a connection to the others. The hub calls it for events that are not in memory.
 */
import type pg from 'pg';
import { z } from 'zod';
import { Batch } from '../ground/batch.js';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import { Refusal, StreamUnreadable, Unavailable } from '../ground/refusal.js';
import type { PageLimits } from '../hub/page.js';
import type { Pages, RunOfRows } from '../ports/feed.js';
import type { Rows, RowsPage, RowsRequest } from '../ports/rows.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import type { Catalog } from './catalog.js';
import { ConnectionHealth } from './connection-health.js';
import { PageReads, type PageRequest } from './page-reads.js';
import { makePool } from './pool.js';
import { checkRows, type Statement } from './rows.js';
import { isConnectionLoss, isOutdated, isTimeout, READ_SETTINGS, withGrace } from './session.js';
import { channelsStatement, named, POSITION, rowsStatement } from './statements.js';
import { codeOf } from './stream-health.js';
import type { Stream } from './streams.js';

const channelRow = z.object({ channel: z.string(), head: z.number() });
const positionRow = z.object({ position: z.string() });
const snapshotRow = positionRow.extend({ id: z.string().nullable(), json: z.string().nullable(), total: z.number() });

/** Maximum size of the rows in one page of a snapshot, in bytes of JSON. */
const SNAPSHOT_BYTES = 4 * 1024 * 1024;

/** SQLSTATEs of an identity that is none of this table. */
const NO_IDENTITY = /^22/;

/** Maximum number of pages in one statement, which bounds the size of the result. */
const PAGES_AT_ONCE = 16;

/** Refuses a standby: it may lack rows that the tail has reported, which would then look like deleted rows. */
const PRIMARY_ONLY = `DO $$ BEGIN
  IF pg_is_in_recovery() THEN RAISE EXCEPTION 'the server is a hot standby' USING ERRCODE = 'cannot_connect_now'; END IF;
END $$`;

/** The lock timeout of a page, in milliseconds. It is short, because there are few connections. */
const LOCK_TIMEOUT = 100;

export interface TablePagesOptions {
  readonly databaseUrl: DatabaseUrl;
  readonly poolSize: number;
  readonly queryTimeout: number;
  readonly limits: PageLimits;
  /** The largest event, in bytes of its JSON. */
  readonly eventBytes: number;
  readonly catalog: Catalog;
  readonly logger: Logger;
  readonly health?: ConnectionHealth;
  readonly metrics: Metrics;
}

export class TablePages implements Pages, Rows {
  readonly #options: TablePagesOptions;
  readonly #pool: pg.Pool;
  readonly #reads: PageReads;
  readonly #pages = new WeakMap<Stream, Batch<PageRequest, RunOfRows | StreamUnreadable>>();

  constructor(options: TablePagesOptions) {
    const { databaseUrl, poolSize, queryTimeout, limits, eventBytes, logger, metrics } = options;
    const { health = new ConnectionHealth(logger) } = options;
    this.#options = options;
    const ask = <T>(statement: Statement, values: unknown[], row: z.ZodType<T>) => this.#query(statement, values, row);
    this.#reads = new PageReads({ ask, limits, eventBytes, logger, metrics });
    this.#pool = makePool({
      databaseUrl,
      name: 'pages',
      size: poolSize,
      queryTimeout,
      health,
      logger,
      // Shorter than the query timeout of the client: a statement that the server cancels leaves the connection usable.
      prepare: `${PRIMARY_ONLY}; ${READ_SETTINGS}; SET statement_timeout = ${Math.ceil(queryTimeout / 2)}; SET lock_timeout = ${LOCK_TIMEOUT}`,
    });
  }

  async stop(): Promise<void> {
    await withGrace(this.#pool.end());
  }

  async page(channel: string, after: number, upTo: number): Promise<RunOfRows> {
    let page = await this.#ask(channel, after, upTo);
    // The catalog was read again after the first attempt.
    if (page instanceof StreamUnreadable && isOutdated(page.cause)) page = await this.#ask(channel, after, upTo);
    if (page instanceof StreamUnreadable) throw page;
    return page;
  }

  async #ask(channel: string, after: number, upTo: number): Promise<RunOfRows | StreamUnreadable> {
    const found = await this.#options.catalog.find(channel);
    if (found === null) return { epoch: '', rows: null };
    return this.#batchOf(found.stream).ask({ key: found.key, after, upTo });
  }

  async position(channel: string): Promise<string | null> {
    const found = await this.#options.catalog.find(channel);
    if (found === null) return null;
    const [row] = await this.#query(named(POSITION), [channel], positionRow);
    return row?.position ?? null;
  }

  async rows(channel: string, { after, limit }: RowsRequest): Promise<RowsPage | null> {
    const found = await this.#options.catalog.find(channel);
    if (found === null) return null;
    const { stream, key } = found;
    if (stream.problem !== null) throw new StreamUnreadable(stream.name, { cause: new Error(stream.problem) });
    const { eventBytes } = this.#options;
    // One more tells whether there are more.
    const values = [channel, key, after, stream.tracked ? limit + 1 : limit, SNAPSHOT_BYTES, eventBytes];
    const read = await this.#query(named(rowsStatement(stream)), values, snapshotRow).catch((error: unknown) => {
      if (after !== null && NO_IDENTITY.test(codeOf(error)))
        throw new Refusal('invalid_request', 'after is the identity of no row');
      throw error;
    });
    const rows: string[] = [];
    const ids: string[] = [];
    for (const { id, json } of read.slice(0, limit)) {
      if (id === null) continue; // there is no row
      if (json === null)
        throw new Refusal(
          'event_too_large',
          `the row ${id} of ${stream.name} has more than ${eventBytes} bytes as JSON`,
        );
      rows.push(json);
      ids.push(id);
    }
    const [{ position, total } = { position: '', total: 0 }] = read;
    return { position, rows, ids, more: stream.tracked && rows.length < total };
  }

  /** Lists channels that ever had an event, sorted by name within a stream, at most `limit` per stream. */
  async channels(limit: number): Promise<{ channel: string; head: number }[]> {
    const streams = this.#options.catalog.streams.filter(({ problem }) => problem === null);
    const lists = streams.map((stream) =>
      this.#query(named(channelsStatement(stream)), [limit], channelRow).catch((error: unknown) => {
        if (error instanceof Unavailable && !isTimeout(error.cause)) throw error;
        this.#options.logger.warn({ stream: stream.name, err: error }, 'the channels of a stream cannot be listed');
        return []; // the channels of the other streams are listed
      }),
    );
    return (await Promise.all(lists)).flat();
  }

  #batchOf(stream: Stream): Batch<PageRequest, RunOfRows | StreamUnreadable> {
    let batch = this.#pages.get(stream);
    if (batch === undefined) {
      // A slow stream must leave a connection to the others.
      const width = Math.max(1, this.#options.poolSize - 1);
      batch = new Batch((requests) => this.#reads.read(stream, requests), PAGES_AT_ONCE, width);
      this.#pages.set(stream, batch);
    }
    return batch;
  }

  async #query<T>(statement: Statement, values: unknown[], row: z.ZodType<T>): Promise<T[]> {
    try {
      return checkRows(statement, (await this.#pool.query({ ...statement, values })).rows, row);
    } catch (error) {
      if (isOutdated(error)) await this.#options.catalog.load();
      if (error instanceof z.ZodError || (!isConnectionLoss(error) && !isTimeout(error))) throw error;
      throw new Unavailable(`pages: ${(error as Error).message}`, { cause: error });
    }
  }
}
