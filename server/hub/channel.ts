import type { Position, ResetReason } from '@rowcast/client/protocol';
import type { Logger } from '../ground/logger.js';
import { Unavailable } from '../ground/refusal.js';
import type { Clock } from '../ports/clock.js';
import type { ChannelState, Feed, Movement, Pages, StoredRow } from '../ports/feed.js';
import type { PageCache } from './cache.js';
import { Page, type RangeFrame } from './page.js';

/** What a page may hold, in rows and bytes. */
export interface PageLimits {
  readonly rows: number;
  readonly bytes: number;
}

export interface ChannelContext {
  readonly feed: Pick<Feed, 'open'>;
  readonly pages: Pages;
  readonly cache: PageCache;
  readonly limits: PageLimits;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What reads a channel: a place in it, which the channel wakes. */
export interface Reader {
  /** The seq of the last event that was sent. */
  readonly after: number;
  /** There may be something to send. */
  advance(): void;
  /** What follows `after` is gone: go on after `position`. */
  reset(reason: ResetReason, position: Position): void;
  /** The channel is gone. */
  end(): void;
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
  /** Raised whenever the same numbers may mean other rows. */
  #numbering = 0;
  #loading = false;
  #closed = false;
  #gone = false;
  #rechecking = false;
  #recheckWanted = false;
  #cancelLoad: () => void = () => {};
  #cancelRecheck: () => void = () => {};

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

  /** It was looked for, and is no more. */
  get gone(): boolean {
    return this.#gone;
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
    this.#closed = true;
    this.#cancelLoad();
    this.#cancelRecheck();
    this.#forgetPages();
  }

  /** The head moved. A movement that is known already, or from before the channel was opened, changes nothing. */
  moved({ epoch, head, rows }: Movement): void {
    // Of another numbering than the one known here, which the readers have to be told first.
    if (epoch !== this.#state.epoch) return this.recheck();
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
   * Reads the state again and tells the readers what it means for them. False where the channel is gone. Rejects
   * with `Unavailable`.
   */
  async refresh(): Promise<boolean> {
    const known = this.#state;
    const state = await this.#context.feed.open(this.name);
    this.#gone = state === null;
    if (this.#closed) return state !== null;
    if (state === null) {
      for (const reader of [...this.#readers]) reader.end();
      return false;
    }
    const renumbered = state.epoch !== this.#state.epoch;
    // A standby took over that lacks the last rows: their numbers will be given to others.
    const wentBack = state.head < known.head && this.#state === known;
    if (renumbered || wentBack) this.#forgetPages();
    // Else a movement has come while this state was on its way.
    this.#state = renumbered || wentBack ? state : { ...state, head: Math.max(state.head, this.#state.head) };
    const { epoch, floor, head } = this.#state;
    for (const reader of [...this.#readers]) {
      if (renumbered) reader.reset('epoch', { epoch, seq: head });
      else if (reader.after > head) reader.reset('ahead', { epoch, seq: head });
      else if (reader.after < floor - 1) reader.reset('pruned', { epoch, seq: floor - 1 });
      reader.advance();
    }
    return true;
  }

  /** The state may be another than the one known here: reads it again, for as long as it takes to get an answer. */
  recheck(): void {
    this.#recheckWanted = true;
    if (!this.#rechecking) void this.#recheck();
  }

  async #recheck(): Promise<void> {
    this.#rechecking = true;
    while (this.#recheckWanted && !this.#closed) {
      this.#recheckWanted = false;
      try {
        await this.refresh();
      } catch (error) {
        if (this.#closed) break;
        this.#warn(error, 'a channel could not be refreshed, trying again');
        this.#recheckWanted = true;
        await new Promise<void>((resolve) => {
          this.#cancelRecheck = this.#context.clock.after(RETRY, resolve);
        });
      }
    }
    this.#rechecking = false;
  }

  /** A database that is away is logged once, by the session that lost it, and not by each channel. */
  #warn(error: unknown, message: string): void {
    if (!(error instanceof Unavailable)) this.#context.logger.warn({ channel: this.name, err: error }, message);
  }

  #use(page: Page): void {
    this.#context.cache.use(page, () => {
      this.#pages = this.#pages.filter((kept) => kept !== page);
    });
  }

  #forgetPages(): void {
    this.#numbering += 1;
    for (const page of this.#pages) this.#context.cache.drop(page);
    this.#pages = [];
  }

  /** Puts a contiguous run of rows into pages, which stay in order. What is known already is passed over. */
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

  /** One read at a time, for as long as somebody waits. */
  async #load(): Promise<void> {
    this.#loading = true;
    while (this.#waiting.size > 0) {
      try {
        await this.#loadAfter(this.#nextWanted());
      } catch (error) {
        if (this.#waiting.size === 0) break;
        this.#warn(error, 'a page could not be read, trying again');
        await new Promise<void>((resolve) => {
          this.#cancelLoad = this.#context.clock.after(RETRY, resolve);
        });
      }
    }
    this.#loading = false;
  }

  /**
   * The place of the reader that has waited longest, or the lowest place that is wanted shortly before it: readers
   * that come back together stand at slightly different places, and one page serves them all.
   */
  #nextWanted(): number {
    const [first] = this.#waiting;
    const longest = first?.after ?? 0;
    let lowest = longest;
    for (const { after } of this.#waiting) {
      if (after < lowest && after > longest - this.#context.limits.rows) lowest = after;
    }
    return lowest;
  }

  async #loadAfter(after: number): Promise<void> {
    const { head, epoch } = this.#state;
    const numbering = this.#numbering;
    // Not into the page that is in memory already.
    const upTo = Math.min(head, (this.#pages.find(({ from }) => from > after + 1)?.from ?? head + 1) - 1);
    const run = upTo > after ? await this.#context.pages.page(this.name, after, upTo) : { epoch, rows: [] };
    if (this.#waiting.size === 0) return; // whoever wanted it has left, perhaps everybody
    if (numbering !== this.#numbering) return; // renumbered meanwhile: these rows may be of the old numbering
    const [first] = run.rows;
    if (run.epoch !== epoch || (upTo > after && first?.seq !== after + 1)) {
      return this.#missing(after, first?.seq ?? upTo + 1);
    }
    this.#keep(run.rows);
    const to = run.rows.at(-1)?.seq ?? upTo;
    for (const reader of [...this.#waiting]) {
      if (reader.after >= after && (reader.after < to || upTo <= after)) this.#serve(reader);
    }
  }

  #serve(reader: Reader): void {
    this.#waiting.delete(reader);
    reader.advance();
  }

  /** Rows that were there are gone: their readers are told, never silently passed by (I2). */
  async #missing(after: number, next: number): Promise<void> {
    const { epoch } = this.#state;
    const there = await this.refresh();
    // Deleted behind Rowcast's back (with triggers off), so that no floor was raised: up to the next row nothing is left.
    if (there && this.#state.epoch === epoch && this.#state.floor <= after + 1) {
      const last = Math.min(next - 1, this.#state.head);
      for (const reader of [...this.#readers]) {
        if (reader.after >= after && reader.after < last) reader.reset('pruned', { epoch, seq: last });
      }
    }
    for (const reader of [...this.#waiting]) this.#serve(reader);
  }
}
