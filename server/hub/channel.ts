import type { Logger } from '../logger.js';
import type { ChannelState, Clock, Log, Movement, Reader, StoredRow } from '../ports.js';
import type { PageCache } from './cache.js';
import { Page, type RangeFrame } from './page.js';

/** What a page may hold, in rows and bytes. */
export interface PageLimits {
  readonly rows: number;
  readonly bytes: number;
}

export interface ChannelContext {
  readonly log: Log;
  readonly cache: PageCache;
  readonly limits: PageLimits;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How long to wait before asking again a database that could not be reached, in milliseconds. */
const RETRY = 250;

/**
 * A channel that somebody reads: where its numbering stands, and the pages of it that are in memory. New rows and
 * rows read back from the table are pages alike; a reader that finds no page for its place asks for one, and all
 * readers that need the same rows share one read of the table.
 */
export class Channel {
  readonly name: string;
  readonly #context: ChannelContext;
  readonly #readers = new Set<Reader>();
  readonly #waiting = new Set<Reader>();
  #pages: Page[] = [];
  #state: ChannelState;
  #loading = false;
  #loadedTo = 0;
  #cancelRetry: (() => void) | null = null;

  constructor(name: string, state: ChannelState, context: ChannelContext) {
    this.name = name;
    this.#state = state;
    this.#context = context;
  }

  get state(): ChannelState {
    return this.#state;
  }

  get readers(): number {
    return this.#readers.size;
  }

  join(reader: Reader): void {
    this.#readers.add(reader);
  }

  leave(reader: Reader): void {
    this.#readers.delete(reader);
    this.#waiting.delete(reader);
  }

  /** Nobody reads any more: gives back the memory. */
  close(): void {
    this.#cancelRetry?.();
    this.#forgetPages();
  }

  /** The head moved. A movement that is known already, or from before the channel was opened, changes nothing. */
  moved({ head, rows }: Movement): void {
    if (head <= this.#state.head) return;
    this.#keep(rows);
    this.#state = { ...this.#state, head };
    for (const reader of this.#readers) reader.advance();
  }

  /** The frame that follows `after`, if its rows are in memory. */
  next(after: number): RangeFrame | null {
    const page = this.#pages.findLast(({ from }) => from <= after + 1);
    if (page === undefined || page.to <= after) return null;
    const frame = page.frame(after);
    this.#use(page);
    return frame;
  }

  /** The reader needs what follows its place, and it is not in memory: it is called when it is. */
  want(reader: Reader): void {
    this.#waiting.add(reader);
    if (!this.#loading) void this.#load();
  }

  /**
   * Reads the state again and tells the readers what it means for them. Rejects with `Unavailable`.
   */
  async refresh(): Promise<void> {
    const state = await this.#context.log.open(this.name);
    if (state === null) {
      for (const reader of [...this.#readers]) reader.end();
      return;
    }
    const renumbered = state.epoch !== this.#state.epoch;
    if (renumbered) this.#forgetPages();
    // A movement may have come while this state was on its way.
    this.#state = renumbered ? state : { ...state, head: Math.max(state.head, this.#state.head) };
    const { epoch, floor, head } = this.#state;
    for (const reader of [...this.#readers]) {
      if (renumbered) reader.reset('epoch', { epoch, seq: head });
      else if (reader.after < floor - 1) reader.reset('pruned', { epoch, seq: floor - 1 });
      reader.advance();
    }
  }

  #use(page: Page): void {
    this.#context.cache.use(page, () => {
      this.#pages = this.#pages.filter((kept) => kept !== page);
    });
  }

  #forgetPages(): void {
    for (const page of this.#pages) this.#context.cache.drop(page);
    this.#pages = [];
  }

  /** Puts a contiguous run of rows into pages. Pages never overlap and stay in order. */
  #keep(rows: readonly StoredRow[]): void {
    const { limits } = this.#context;
    let page: Page | undefined;
    for (const row of rows) {
      page ??= this.#pages.findLast(({ from }) => from <= row.seq);
      if (page !== undefined && row.seq <= page.to) continue;
      const follows = page !== undefined && page.to + 1 === row.seq;
      if (page === undefined || !follows || page.rows >= limits.rows || page.rowBytes >= limits.bytes) {
        page = this.#insert(row.seq);
      }
      page.append(row);
      this.#use(page);
    }
  }

  #insert(from: number): Page {
    const page = new Page(this.name, from);
    const at = this.#pages.findLastIndex((other) => other.from < from) + 1;
    this.#pages.splice(at, 0, page);
    return page;
  }

  /** One read at a time, upward from the lowest place that is wanted, and round again: nobody is passed over. */
  async #load(): Promise<void> {
    this.#loading = true;
    while (this.#waiting.size > 0) {
      try {
        await this.#loadAfter(this.#nextWanted());
      } catch (error) {
        this.#context.logger.warn({ channel: this.name, err: error }, 'a page could not be read, trying again');
        await new Promise<void>((resolve) => {
          this.#cancelRetry = this.#context.clock.after(RETRY, resolve);
        });
      }
    }
    this.#loading = false;
  }

  #nextWanted(): number {
    let lowest = Number.POSITIVE_INFINITY;
    let above = Number.POSITIVE_INFINITY;
    for (const { after } of this.#waiting) {
      lowest = Math.min(lowest, after);
      if (after >= this.#loadedTo) above = Math.min(above, after);
    }
    return above === Number.POSITIVE_INFINITY ? lowest : above;
  }

  async #loadAfter(after: number): Promise<void> {
    const { head, epoch } = this.#state;
    // Not into the page that is in memory already.
    const upTo = Math.min(head, (this.#pages.find(({ from }) => from > after + 1)?.from ?? head + 1) - 1);
    const rows = upTo > after ? await this.#context.log.page(this.name, after, upTo) : [];
    if (epoch !== this.#state.epoch) return; // renumbered meanwhile: these rows are of the old numbering
    if (upTo > after && rows[0]?.seq !== after + 1) await this.#missing(after, rows[0]?.seq ?? upTo + 1);
    else this.#keep(rows);
    this.#loadedTo = rows.at(-1)?.seq ?? after;
    for (const reader of [...this.#waiting]) {
      if (reader.after >= after && (reader.after < this.#loadedTo || upTo <= after)) this.#serve(reader);
    }
  }

  #serve(reader: Reader): void {
    this.#waiting.delete(reader);
    reader.advance();
  }

  /** Rows that were there are gone: their readers are told, never silently passed by (I2). */
  async #missing(after: number, next: number): Promise<void> {
    await this.refresh();
    const { epoch, floor } = this.#state;
    for (const reader of [...this.#readers]) {
      // Deleted behind Rowcast's back (with triggers off), so that no floor was raised.
      if (reader.after >= after && reader.after < next - 1 && floor <= after + 1) {
        reader.reset('pruned', { epoch, seq: next - 1 });
      }
    }
    for (const reader of [...this.#waiting]) this.#serve(reader);
  }
}
