/**
 * Reads pages of a stream, and finds rows that cannot be sent, because they are larger than an event may be or PostgreSQL
 * fails to encode them. Such a row ends its page, and the next page reports it. If a page fails, it is read again with fewer
 * rows until the row is found.
 */
import { z } from 'zod';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import { Once } from '../ground/once.js';
import { StreamUnreadable, Unavailable } from '../ground/refusal.js';
import type { PageLimits } from '../hub/page.js';
import type { RunOfRows, Withheld } from '../ports/feed.js';
import { isLockTimeout } from './session.js';
import { ofStream, pageStatement, rowsFrom, seqStatement } from './statements.js';
import { codeOf } from './stream-health.js';
import type { Stream } from './streams.js';
import type { Ask } from './tail-reads.js';

const statementOfPage = ofStream(pageStatement);
const statementOfSeq = ofStream(seqStatement);
const pageRow = z.object({ at: z.number(), epoch: z.string(), seq: z.number(), texts: z.string() });
const seqRow = z.object({ seq: z.number(), epoch: z.string() });

/** The factor by which the number of rows is reduced after a page has failed. */
const FEWER = 8;

/** SQLSTATEs of a text that is too long for PostgreSQL: "program limit exceeded". */
const TOO_LONG = /^54/;

/** SQLSTATEs that do not depend on the values of a row: missing rights, functions or columns, or insufficient resources. */
const NOT_OF_A_ROW = /^(08|25|40|42|53|55|57|58)/;

/** Used instead of a SQLSTATE if the server did not respond. */
const NO_CODE = '08';

/** After this number of consecutive timeouts a row is reported as unreadable; otherwise its channel would wait for ever. */
const MAX_TIMEOUTS = 3;

/** Maximum number of rows whose timeouts are counted. */
const SLOW_ROWS = 1_000;

export interface PageRequest {
  readonly key: string;
  readonly after: number;
  readonly upTo: number;
}

export interface PageReadsOptions {
  readonly ask: Ask;
  readonly limits: PageLimits;
  /** Maximum size of an event, in bytes of JSON. */
  readonly eventBytes: number;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export class PageReads {
  readonly #ask: Ask;
  readonly #limits: PageLimits;
  readonly #eventBytes: number;
  readonly #logger: Logger;
  readonly #metrics: Metrics;
  /** The number of rows per page, by stream, if the last page had to be smaller than the limit. */
  readonly #rowsAtOnce = new Map<number, number>();
  /** The number of timeouts of single rows. */
  readonly #timeouts = new Map<string, number>();
  readonly #logged = new Once();

  constructor({ ask, limits, eventBytes, logger, metrics }: PageReadsOptions) {
    this.#ask = ask;
    this.#limits = limits;
    this.#eventBytes = eventBytes;
    this.#logger = logger;
    this.#metrics = metrics;
  }

  /** Resolves to one page for each request, or to the reason why it cannot be read. Rejects with `Unavailable`. */
  async read(stream: Stream, requests: readonly PageRequest[]): Promise<(RunOfRows | StreamUnreadable)[]> {
    if (stream.problem !== null) throw new StreamUnreadable(stream.name, { cause: new Error(stream.problem) });
    const rows = this.#rowsAtOnce.get(stream.id) ?? this.#limits.rows;
    try {
      const pages = await this.#pages(stream, requests, rows);
      if (rows * FEWER < this.#limits.rows) this.#rowsAtOnce.set(stream.id, rows * FEWER);
      else this.#rowsAtOnce.delete(stream.id);
      return pages;
    } catch (error) {
      if (error instanceof Unavailable && !isSlow(error)) throw this.#unreadable(stream, error);
      const pages: (RunOfRows | StreamUnreadable)[] = [];
      for (const request of requests) {
        const most = isSlow(error) ? 1 : rows;
        const page = await this.#alone(stream, request, most).catch((reason) => this.#unreadable(stream, reason));
        if (page instanceof Unavailable) throw page;
        pages.push(page);
      }
      return pages;
    }
  }

  /** Reads one page with fewer and fewer rows, at last with one. */
  async #alone(stream: Stream, request: PageRequest, most: number): Promise<RunOfRows> {
    let error: unknown = null;
    let rows = Math.min(most, request.upTo - request.after);
    for (; rows > 0; rows = rows === 1 || isSlow(error) ? Math.min(rows - 1, 1) : Math.ceil(rows / FEWER)) {
      try {
        const [page] = await this.#pages(stream, [request], rows);
        if (rows < this.#limits.rows) this.#rowsAtOnce.set(stream.id, rows);
        return page ?? { epoch: '', rows: null };
      } catch (reason) {
        if (reason instanceof Unavailable && !isSlow(reason)) throw reason;
        error = reason;
      }
    }
    this.#rowsAtOnce.set(stream.id, 1);
    // If the seq of the row can be read, its text is what fails.
    const [row] = await this.#ask(statementOfSeq(stream), [request.key, request.after], seqRow);
    if (row === undefined || row.seq > request.upTo) return { epoch: row?.epoch ?? '', rows: null };
    const code = codeOf(error);
    const tooLong = TOO_LONG.test(code) || (error as Error).message.startsWith('invalid memory alloc request size');
    const channel = `${stream.name}:${request.key}`;
    const givenUp = isSlow(error) && this.#slow(`${channel} ${row.seq}`);
    if (!tooLong && !givenUp && NOT_OF_A_ROW.test(code || NO_CODE)) throw error;
    return { epoch: row.epoch, rows: null, withheld: this.#withhold(channel, row.seq, error, tooLong) };
  }

  /** Counts a timeout of a row. Returns whether the row must be reported as unreadable. */
  #slow(row: string): boolean {
    const times = (this.#timeouts.get(row) ?? 0) + 1;
    this.#timeouts.delete(row);
    this.#timeouts.set(row, times);
    const [oldest] = this.#timeouts.keys();
    if (this.#timeouts.size > SLOW_ROWS && oldest !== undefined) this.#timeouts.delete(oldest);
    return times >= MAX_TIMEOUTS;
  }

  async #pages(stream: Stream, requests: readonly PageRequest[], rows: number): Promise<RunOfRows[]> {
    const keys = requests.map(({ key }) => key);
    const afters = requests.map(({ after }) => after);
    const upTos = requests.map(({ upTo }) => upTo);
    this.#metrics.pageStatements.inc();
    this.#metrics.pages.inc(requests.length);
    const pages: RunOfRows[] = requests.map(() => ({ epoch: '', rows: null }));
    const values = [keys, afters, upTos, this.#limits.bytes, rows, this.#eventBytes];
    for (const { at, epoch, seq, texts } of await this.#ask(statementOfPage(stream), values, pageRow)) {
      const sent = rowsFrom(seq, texts);
      const withheld =
        sent !== null ? {} : { withheld: this.#withhold(`${stream.name}:${requests[at - 1]?.key}`, seq, null, true) };
      pages[at - 1] = { epoch, rows: sent, ...withheld };
    }
    return pages;
  }

  #withhold(channel: string, seq: number, error: unknown, tooLong: boolean): Withheld {
    const what = `event ${seq} of ${channel}`;
    if (this.#logged.first(`${channel} ${seq}`)) {
      this.#metrics.withheld.inc();
      const detail = error === null ? {} : { err: error };
      this.#logger.warn({ channel, seq, ...detail }, 'an event cannot be sent, its readers get a reset');
    }
    const where = 'it is in the table, under this key and seq';
    return tooLong
      ? { seq, reason: 'too_large', message: `${what} has more than ${this.#eventBytes} bytes as JSON; ${where}` }
      : {
          seq,
          reason: 'unreadable',
          message: `PostgreSQL cannot encode ${what} (${codeOf(error) || 'it takes too long'}); ${where}`,
        };
  }

  #unreadable(stream: Stream, error: unknown): StreamUnreadable | Unavailable {
    if (error instanceof StreamUnreadable) return error;
    // A lock on the table concerns this stream only; a lost connection concerns all.
    if (error instanceof Unavailable && !isLockTimeout(error.cause) && !isSlow(error)) return error;
    if (this.#logged.first(`${stream.name} ${codeOf(error)}`)) {
      this.#logger.error({ stream: stream.name, err: error }, 'pages of a stream cannot be read');
    }
    return new StreamUnreadable(stream.name, { cause: error });
  }
}

/** Whether the statement timed out, on the server or in the client: with fewer rows it may succeed. */
function isSlow(error: unknown): boolean {
  const { cause } = Object(error) as { cause?: unknown };
  return codeOf(error) === '57014' || (cause instanceof Error && cause.message === 'Query read timeout');
}
