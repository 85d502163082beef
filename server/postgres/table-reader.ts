import pg from 'pg';
import { z } from 'zod';
import type { ChannelState, Pages, RunOfRows } from '../ports/feed.js';
import { Catalog } from './catalog.js';
import { connectOptions } from './connect-options.js';
import { CONNECT_TIMEOUT, READ_SETTINGS, SESSION_DEFAULTS, types } from './session.js';
import { named, openStatement, pageStatement, rowsFrom } from './statements.js';

const openRow = z.object({ epoch: z.string(), floor: z.number(), head: z.number() });
const pageRow = z.object({ epoch: z.string(), seq: z.number(), texts: z.string() });

/** Maximum number of rows and bytes in a page. */
const PAGE_ROWS = 1_000;
const PAGE_BYTES = 4 * 1024 * 1024;

/** Maximum size of a row that is compared, in bytes of JSON. No gateway may send a larger one. */
const EVENT_BYTES = 64 * 1024 * 1024;

/**
 * Reads the tables for `rowcast verify` and tests, over one connection. The rows are encoded as a gateway sends them. There are
 * no retries: methods reject with the error of the driver.
 */
export class TableReader implements Pages {
  readonly #client: pg.Client;
  readonly #catalog: Catalog;

  private constructor(client: pg.Client) {
    this.#client = client;
    this.#catalog = new Catalog(
      (query, values, row) => this.#query(query, values, row),
      () => {},
    );
  }

  static async connect(databaseUrl: string): Promise<TableReader> {
    const client = new pg.Client({
      ...connectOptions(databaseUrl),
      application_name: 'rowcast verify',
      connectionTimeoutMillis: CONNECT_TIMEOUT,
      types,
    });
    client.on('error', () => {}); // the pending query rejects as well
    await client.connect();
    try {
      await client.query(`${SESSION_DEFAULTS}; ${READ_SETTINGS}`);
      const reader = new TableReader(client);
      await reader.#catalog.load();
      return reader;
    } catch (error) {
      await client.end();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#client.end();
  }

  async open(channel: string): Promise<ChannelState | null> {
    const found = await this.#catalog.find(channel);
    if (found === null) return null;
    return (await this.#query(named(openStatement(found.stream)), [[found.key]], openRow))[0] ?? null;
  }

  async page(channel: string, after: number, upTo: number): Promise<RunOfRows> {
    const found = await this.#catalog.find(channel);
    if (found === null) return { epoch: '', rows: null };
    const values = [[found.key], [after], [upTo], PAGE_BYTES, PAGE_ROWS, EVENT_BYTES];
    const [page] = await this.#query(named(pageStatement(found.stream)), values, pageRow);
    if (page === undefined) return { epoch: '', rows: null };
    const { epoch, seq } = page;
    const rows = rowsFrom(seq, page.texts);
    if (rows !== null) return { epoch, rows };
    const message = `the row has more than ${EVENT_BYTES} bytes as JSON`;
    return { epoch, rows, withheld: { seq, reason: 'too_large', message } };
  }

  async #query<T>(query: { name: string; text: string }, values: unknown[], row: z.ZodType<T>): Promise<T[]> {
    return z.array(row).parse((await this.#client.query({ ...query, values })).rows);
  }
}
