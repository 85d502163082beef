/**
 * Runs one read of the tail. All streams are read in one statement. If that fails, each is read alone, which shows the one
 * that fails; it is skipped from then on.
 */
import { z } from 'zod';
import { Unavailable } from '../ground/refusal.js';
import type { Statement } from './rows.js';
import { isTimeout } from './session.js';
import { FEW, headsStatement, MANY, named, type Reading, tailStatement } from './statements.js';
import type { StreamHealth } from './stream-health.js';
import type { Stream } from './streams.js';

export const SNAPSHOT = /^(\d+):(\d+):/;

export const readRow = z.object({
  snapshot: z.string().regex(SNAPSHOT),
  revision: z.number(),
  stream_id: z.number().nullable(),
  epoch: z.string().nullable(),
  key: z.string().nullable(),
  seq: z.number().nullable(),
  tx: z.string().nullable(),
  json: z.string().nullable(),
});
export type ReadRow = z.infer<typeof readRow>;

/** Runs a statement on the connection of the tail, in turn. */
export type Ask = <T>(statement: Statement, values: unknown[], row: z.ZodType<T>) => Promise<T[]>;

/** `failed`: streams whose rows are missing here and in later reads. */
export interface Found {
  readonly rows: readonly ReadRow[];
  readonly failed: readonly Stream[];
}

/** Whether the connection failed, and not the statement, so that the error does not concern a stream. */
export function isGone(error: unknown): boolean {
  return error instanceof Unavailable && !isTimeout(error.cause);
}

export class TailReads {
  readonly #ask: Ask;
  readonly #health: StreamHealth;
  #made = { for: '', few: named(''), many: named(''), heads: named('') };
  #streams: readonly Stream[] = [];

  constructor(ask: Ask, health: StreamHealth) {
    this.#ask = ask;
    this.#health = health;
  }

  /** Reads the events that became visible since a snapshot. The first row has the snapshot for the next read. */
  async together(streams: readonly Stream[], snapshot: string): Promise<Found> {
    const readings = this.#health.readings;
    const version = this.#health.version;
    if (this.#streams !== streams || this.#made.for !== version) {
      this.#streams = streams;
      this.#made = {
        for: version,
        few: named(tailStatement(readings, FEW)),
        many: named(tailStatement(readings, MANY)),
        heads: named(headsStatement(readings)),
      };
    }
    const { few, many, heads } = this.#made;
    let rows = await this.#ask(few, [snapshot], readRow);
    // Pages cost a statement for a few channels: rows that have gathered in many are read here, as long as they are small.
    if (rows.length > FEW.rows) rows = await this.#ask(many, [snapshot], readRow);
    // Too many rows: only the heads of their channels are read, and readers load pages.
    if (rows.length > MANY.rows) rows = await this.#ask(heads, [snapshot], readRow);
    return { rows, failed: [] };
  }

  /**
   * The same, one stream after the other. The snapshot for the next read is that of the first statement, the oldest. Rows that
   * later statements see beyond it are found again, and a repeated movement has no effect.
   */
  async apart(snapshot: string): Promise<Found> {
    const rows = await this.#ask(named(tailStatement([], FEW)), [snapshot], readRow);
    const failed: Stream[] = [];
    for (const reading of this.#health.readings) {
      const found = await this.#alone(reading, snapshot);
      if (found === null) failed.push(reading.stream);
      else rows.push(...found.filter(({ stream_id: id }) => id !== null));
    }
    return { rows, failed };
  }

  async #alone(reading: Reading, snapshot: string): Promise<ReadRow[] | null> {
    const { stream, texts } = reading;
    const heads = named(headsStatement([reading]));
    try {
      const rows = await this.#ask(named(tailStatement([reading], FEW)), [snapshot], readRow);
      return rows.length > FEW.rows ? await this.#ask(heads, [snapshot], readRow) : rows;
    } catch (error) {
      if (isGone(error)) throw error;
      // After a timeout, another attempt would take just as long.
      if (!texts || error instanceof Unavailable) return this.#lose(stream, error);
      try {
        const rows = await this.#ask(heads, [snapshot], readRow);
        this.#health.withoutTexts(stream, error);
        return rows;
      } catch (reason) {
        if (isGone(reason)) throw reason;
        return this.#lose(stream, reason);
      }
    }
  }

  #lose(stream: Stream, error: unknown): null {
    this.#health.out(stream, error);
    return null;
  }
}
