import type pg from 'pg';
import { z } from 'zod';
import { Batch } from '../ground/batch.js';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import { Unavailable } from '../ground/refusal.js';
import type { PageLimits } from '../hub/channel.js';
import type { Pages, RunOfRows, StoredRow } from '../ports/feed.js';
import type { Catalog } from './catalog.js';
import { ConnectionHealth } from './connection-health.js';
import { makePool } from './pool.js';
import { isConnectionLoss, READ_SETTINGS, soon } from './session.js';
import { channelsStatement, pageStatement } from './statements.js';
import type { Stream } from './streams.js';
import { isOutdated, named } from './tail.js';

const pageRow = z.object({ at: z.number(), epoch: z.string(), seq: z.number(), json: z.string() });
const channelRow = z.object({ channel: z.string(), head: z.number() });

/** Pages read by one statement: with more, one answer could grow too large. */
const PAGES_AT_ONCE = 16;

interface PageRequest {
  readonly key: string;
  readonly after: number;
  readonly upTo: number;
}

export interface TablePagesOptions {
  readonly databaseUrl: string;
  readonly poolSize: number;
  readonly queryTimeout: number;
  readonly limits: PageLimits;
  readonly catalog: Catalog;
  readonly logger: Logger;
  readonly health?: ConnectionHealth;
  readonly metrics: Metrics;
}

/** Reads the tables by position. Pages of several channels of a stream that are wanted at once are one statement. */
export class TablePages implements Pages {
  readonly #options: TablePagesOptions;
  readonly #pool: pg.Pool;
  readonly #pages = new WeakMap<Stream, Batch<PageRequest, RunOfRows>>();

  constructor(options: TablePagesOptions) {
    const { databaseUrl, poolSize, queryTimeout, logger, health = new ConnectionHealth(logger) } = options;
    this.#options = options;
    this.#pool = makePool({
      databaseUrl,
      name: 'pages',
      size: poolSize,
      queryTimeout,
      health,
      logger,
      prepare: READ_SETTINGS,
    });
  }

  async stop(): Promise<void> {
    await soon(this.#pool.end());
  }

  async page(channel: string, after: number, upTo: number): Promise<RunOfRows> {
    const found = await this.#options.catalog.find(channel);
    return found === null ? { epoch: '', rows: [] } : this.#batchOf(found.stream).ask({ key: found.key, after, upTo });
  }

  /** Channels that ever had an event, in the order of their names within a stream, `limit` of each stream at most. */
  async channels(limit: number): Promise<{ channel: string; head: number }[]> {
    const lists = this.#options.catalog.streams.map((stream) => {
      return this.#query(named(channelsStatement(stream)), [limit], channelRow);
    });
    return (await Promise.all(lists)).flat();
  }

  #batchOf(stream: Stream): Batch<PageRequest, RunOfRows> {
    let batch = this.#pages.get(stream);
    if (batch === undefined) {
      const statement = named(pageStatement(stream));
      const { limits, poolSize, metrics } = this.#options;
      batch = new Batch(
        async (requests) => {
          const keys = requests.map(({ key }) => key);
          const afters = requests.map(({ after }) => after);
          const upTos = requests.map(({ upTo }) => upTo);
          const values = [keys, afters, upTos, limits.bytes, limits.rows];
          metrics.pageStatements.inc();
          metrics.pages.inc(requests.length);
          const pages = requests.map(() => ({ epoch: '', rows: [] as StoredRow[] }));
          for (const { at, epoch, seq, json } of await this.#query(statement, values, pageRow)) {
            const page = pages[at - 1];
            if (page === undefined) continue;
            page.epoch = epoch;
            page.rows.push({ seq, json });
          }
          return pages;
        },
        PAGES_AT_ONCE,
        poolSize,
      );
      this.#pages.set(stream, batch);
    }
    return batch;
  }

  async #query<T>(query: { name: string; text: string }, values: unknown[], row: z.ZodType<T>): Promise<T[]> {
    try {
      return z.array(row).parse((await this.#pool.query({ ...query, values })).rows);
    } catch (error) {
      if (isOutdated(error)) await this.#options.catalog.load();
      if (error instanceof z.ZodError || !isConnectionLoss(error)) throw error;
      throw new Unavailable(`pages: ${(error as Error).message}`, { cause: error });
    }
  }
}
