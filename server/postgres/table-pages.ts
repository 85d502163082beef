import type pg from 'pg';
import { z } from 'zod';
import { Batch } from '../ground/batch.js';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import { StreamUnreadable, Unavailable } from '../ground/refusal.js';
import type { PageLimits } from '../hub/channel.js';
import type { Pages, RunOfRows } from '../ports/feed.js';
import type { Catalog } from './catalog.js';
import { ConnectionHealth } from './connection-health.js';
import { PageReads, type PageRequest } from './page-reads.js';
import { makePool } from './pool.js';
import { isConnectionLoss, isOutdated, isTimeout, READ_SETTINGS, soon } from './session.js';
import { channelsStatement, named } from './statements.js';
import type { Stream } from './streams.js';

const channelRow = z.object({ channel: z.string(), head: z.number() });

/** Pages read by one statement: with more, one answer could grow too large. */
const PAGES_AT_ONCE = 16;

/** A standby may lack rows of which the tail has spoken: they would look as if they had been deleted. */
const PRIMARY_ONLY = `DO $$ BEGIN
  IF pg_is_in_recovery() THEN RAISE EXCEPTION 'the server is a hot standby' USING ERRCODE = 'cannot_connect_now'; END IF;
END $$`;

/** How long a page waits for a lock on its table, in milliseconds: its connection is one of few. */
const LOCK_TIMEOUT = 100;

export interface TablePagesOptions {
  readonly databaseUrl: string;
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

/** Reads the tables by position. Pages of several channels of a stream that are wanted at once are one statement. */
export class TablePages implements Pages {
  readonly #options: TablePagesOptions;
  readonly #pool: pg.Pool;
  readonly #reads: PageReads;
  readonly #pages = new WeakMap<Stream, Batch<PageRequest, RunOfRows | StreamUnreadable>>();

  constructor(options: TablePagesOptions) {
    const { databaseUrl, poolSize, queryTimeout, limits, eventBytes, logger, metrics } = options;
    const { health = new ConnectionHealth(logger) } = options;
    this.#options = options;
    const ask = <T>(query: { name: string; text: string }, values: unknown[], row: z.ZodType<T>) =>
      this.#query(query, values, row);
    this.#reads = new PageReads({ ask, limits, eventBytes, logger, metrics });
    this.#pool = makePool({
      databaseUrl,
      name: 'pages',
      size: poolSize,
      queryTimeout,
      health,
      logger,
      // Before the client gives up the connection: an answer that says so leaves it usable.
      prepare: `${PRIMARY_ONLY}; ${READ_SETTINGS}; SET statement_timeout = ${Math.ceil(queryTimeout / 2)}; SET lock_timeout = ${LOCK_TIMEOUT}`,
    });
  }

  async stop(): Promise<void> {
    await soon(this.#pool.end());
  }

  async page(channel: string, after: number, upTo: number): Promise<RunOfRows> {
    let page = await this.#ask(channel, after, upTo);
    // The catalog has been read anew.
    if (page instanceof StreamUnreadable && isOutdated(page.cause)) page = await this.#ask(channel, after, upTo);
    if (page instanceof StreamUnreadable) throw page;
    return page;
  }

  async #ask(channel: string, after: number, upTo: number): Promise<RunOfRows | StreamUnreadable> {
    const found = await this.#options.catalog.find(channel);
    if (found === null) return { epoch: '', rows: [] };
    return this.#batchOf(found.stream).ask({ key: found.key, after, upTo });
  }

  /** Channels that ever had an event, in the order of their names within a stream, `limit` of each stream at most. */
  async channels(limit: number): Promise<{ channel: string; head: number }[]> {
    const streams = this.#options.catalog.streams.filter(({ problem }) => problem === null);
    const lists = streams.map((stream) =>
      this.#query(named(channelsStatement(stream)), [limit], channelRow).catch((error: unknown) => {
        if (error instanceof Unavailable && !isTimeout(error.cause)) throw error;
        this.#options.logger.warn({ stream: stream.name, err: error }, 'the channels of a stream cannot be listed');
        return []; // the list has those of the other streams
      }),
    );
    return (await Promise.all(lists)).flat();
  }

  #batchOf(stream: Stream): Batch<PageRequest, RunOfRows | StreamUnreadable> {
    let batch = this.#pages.get(stream);
    if (batch === undefined) {
      // A stream that is slow leaves a connection to the others.
      const width = Math.max(1, this.#options.poolSize - 1);
      batch = new Batch((requests) => this.#reads.read(stream, requests), PAGES_AT_ONCE, width);
      this.#pages.set(stream, batch);
    }
    return batch;
  }

  async #query<T>(query: { name: string; text: string }, values: unknown[], row: z.ZodType<T>): Promise<T[]> {
    try {
      return z.array(row).parse((await this.#pool.query({ ...query, values })).rows);
    } catch (error) {
      if (isOutdated(error)) await this.#options.catalog.load();
      if (error instanceof z.ZodError || (!isConnectionLoss(error) && !isTimeout(error))) throw error;
      throw new Unavailable(`pages: ${(error as Error).message}`, { cause: error });
    }
  }
}
