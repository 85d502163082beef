/**
 * A channel that has readers: its state (epoch, floor, head) and its pages in memory. Pages of new rows and of rows read
 * from the table are treated alike. A reader whose next events are not in memory waits for a page, and all readers
 * that need the same rows share one read of the table. Readers are never moved past missing rows without a reset (I2).
 */
import type { Logger } from '../ground/logger.js';
import { nothing } from '../ground/nothing.js';
import { StreamUnreadable, Unavailable } from '../ground/refusal.js';
import type { Clock } from '../ports/clock.js';
import type { EventsFrame } from '../ports/events-frame.js';
import type { ChannelState, Feed, Movement, Pages, RunOfRows, Withheld } from '../ports/feed.js';
import type { PageCache } from './cache.js';
import { ChannelPages } from './channel-pages.js';
import type { PageLimits } from './page.js';
import { type PageRead, ReadAhead } from './read-ahead.js';
import type { Reader } from './reader.js';
import { pause, waitAfter } from './waiting.js';

export interface ChannelContext {
  readonly feed: Pick<Feed, 'open'>;
  readonly pages: Pages;
  readonly cache: PageCache;
  readonly limits: PageLimits;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Delay before a read that failed is repeated, in milliseconds. */
const RETRY = 250;

/** Shared by the channels whose readers have never waited, and empty: a Set of its own takes 170 bytes. */
const NOT_WAITED = new Set<Reader>();

const NO_PAGE = { to: Number.NaN, rows: 0 };

export class Channel {
  readonly name: string;
  readonly #context: ChannelContext;
  readonly #readers = new Set<Reader>();
  #waiting = NOT_WAITED;
  readonly #pages: ChannelPages;
  #state: ChannelState;
  /** Incremented whenever a seq may mean another row than before. */
  #numbering = 0;
  #loading = false;
  /** Made when a reader goes on from page to page: most channels never have one. */
  #ahead: ReadAhead | null = null;
  #closed = false;
  #gone = false;
  #rechecking = false;
  #recheckWanted = false;
  /** The number of consecutive reads of the state, and of a page, that failed because of the stream. */
  #stateFailures = 0;
  #pageFailures = 0;
  #tryLoad: () => void = nothing;
  #tryRecheck: () => void = nothing;

  constructor(name: string, state: ChannelState, context: ChannelContext) {
    this.name = name;
    this.#state = state;
    this.#context = context;
    this.#pages = new ChannelPages(name, context.limits, context.cache);
  }

  get state(): ChannelState {
    return this.#state;
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** Whether the state cannot be read because of its stream. */
  get stalled(): boolean {
    return this.#stateFailures > 0;
  }

  /** Whether the last refresh found that the channel no longer exists. */
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

  /** Frees the pages. Called when the channel has no readers and is not kept any longer. */
  close(): void {
    this.#closed = true;
    this.#tryLoad();
    this.#tryRecheck();
    this.#forgetPages();
  }

  /** Applies a movement. One that is already included in the state has no effect. */
  moved({ epoch, head, rows }: Movement): void {
    // Another epoch: the readers must get a reset first.
    if (epoch !== this.#state.epoch) return this.recheck();
    if (head <= this.#state.head) return;
    if (rows !== null) this.#pages.keep(rows);
    this.#state = { ...this.#state, head };
    for (const reader of this.#readers) reader.advance();
  }

  /** Returns the frame of the events after `after`, or null if they are not in memory. */
  next(after: number): EventsFrame | null {
    return this.#pages.frame(after);
  }

  /** Loads the events after the position of the reader, and then calls its `advance`. */
  want(reader: Reader): void {
    if (this.#waiting === NOT_WAITED) this.#waiting = new Set();
    this.#waiting.add(reader);
    if (!this.#loading) void this.#load();
  }

  /**
   * Reads the state again, and resets, ends or wakes the readers accordingly. Resolves to false if the channel no longer
   * exists. Rejects with `Unavailable`.
   */
  async refresh(): Promise<boolean> {
    const known = this.#state;
    const state = await this.#context.feed.open(this.name);
    this.#gone = state === null;
    if (this.#closed) return state !== null;
    this.#stateFailures = 0;
    this.#resume();
    if (state === null) {
      for (const reader of [...this.#readers]) reader.end();
      return false;
    }
    const renumbered = state.epoch !== this.#state.epoch;
    // After a failover to a standby that lacks the last rows, their numbers will be assigned to other rows.
    const wentBack = state.head < known.head && this.#state === known;
    if (renumbered || wentBack) this.#forgetPages();
    // Otherwise a lower head means that a movement arrived while this state was being read.
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

  /** Reads the state again because it may have changed. Repeats the read until it succeeds. */
  recheck(): void {
    this.#recheckWanted = true;
    if (!this.#rechecking) void this.#recheck();
    this.#tryRecheck();
    this.#tryLoad();
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
        let wait = RETRY;
        if (error instanceof StreamUnreadable) {
          wait = waitAfter(this.#stateFailures);
          this.#stateFailures += 1;
          for (const reader of this.#readers) reader.stall();
        }
        if (this.#closed) break;
        await pause(this.#context.clock, wait, (proceed) => {
          this.#tryRecheck = proceed;
        });
      }
    }
    this.#rechecking = false;
  }

  #resume(): void {
    if (this.#stateFailures > 0) return;
    for (const reader of this.#readers) if (this.#pageFailures === 0 || !this.#waiting.has(reader)) reader.resume();
  }

  /** Does not log that the database or the stream cannot be read: the code that reads it logs that once, for all channels. */
  #warn(error: unknown, message: string): void {
    if (error instanceof StreamUnreadable) return;
    if (!(error instanceof Unavailable)) this.#context.logger.warn({ channel: this.name, err: error }, message);
  }

  #forgetPages(): void {
    this.#numbering += 1;
    this.#ahead?.drop();
    this.#pages.clear();
  }

  /** Loads pages while readers wait, and the page after that ahead as long as a reader goes on from page to page. */
  async #load(): Promise<void> {
    this.#loading = true;
    let last = NO_PAGE;
    while (this.#waiting.size > 0 && !this.#closed) {
      try {
        const after = this.#nextWanted();
        const page = this.#loadAfter(after);
        if (after === last.to) this.#readAhead().begin(after + last.rows);
        last = await page;
        if (this.#pageFailures > 0) {
          this.#pageFailures = 0;
          this.#resume();
        }
      } catch (error) {
        if (this.#waiting.size === 0) break;
        this.#warn(error, 'a page could not be read, trying again');
        let wait = RETRY;
        if (error instanceof StreamUnreadable) {
          wait = waitAfter(this.#pageFailures);
          this.#pageFailures += 1;
          for (const reader of this.#waiting) reader.stall();
        }
        if (this.#closed) break;
        await pause(this.#context.clock, wait, (proceed) => {
          this.#tryLoad = proceed;
        });
      }
    }
    this.#loading = false;
  }

  /**
   * Returns the position to load from: that of the reader that has waited longest, or the lowest one shortly before it.
   * Readers that reconnect together have slightly different positions, and one page can serve all of them.
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

  /** Returns how many rows the page had, and the seq of the last one. */
  async #loadAfter(after: number): Promise<{ to: number; rows: number }> {
    const { epoch } = this.#state;
    const numbering = this.#numbering;
    const read = this.#ahead?.take(after) ?? this.#readAfter(after);
    const run = read === null ? { epoch, rows: null } : await read.run;
    const { upTo } = read ?? { upTo: after };
    // All readers that waited have left, or these rows may belong to the old numbering.
    if (this.#waiting.size === 0 || numbering !== this.#numbering) return NO_PAGE;
    const first = run.rows?.from;
    if (run.epoch === epoch && run.withheld?.seq === after + 1) this.#withhold(run.withheld);
    else if (run.epoch === epoch && (upTo === after || first === after + 1)) {
      return { to: this.#serveFrom(after, run), rows: run.rows?.length ?? 0 };
    } else await this.#missing(after, first ?? run.withheld?.seq ?? upTo + 1);
    return NO_PAGE;
  }

  #readAhead(): ReadAhead {
    this.#ahead ??= new ReadAhead(
      this.#context.clock,
      (after) => this.#readAfter(after),
      (read, run) => {
        // What is wrong with a page is found by the reader that wants it.
        if (run.epoch === this.#state.epoch && run.rows?.from === read.after + 1) this.#pages.keep(run.rows);
      },
    );
    return this.#ahead;
  }

  /** Begins to read the rows after `after`, up to the next page that is in memory. Returns null if there are none. */
  #readAfter(after: number): PageRead | null {
    const upTo = Math.min(this.#state.head, this.#pages.nextAfter(after) - 1);
    return upTo > after ? { after, upTo, run: this.#context.pages.page(this.name, after, upTo) } : null;
  }

  /** Keeps the rows after `after`, and serves the readers that wait for them. Returns the seq of the last one. */
  #serveFrom(after: number, { rows }: RunOfRows): number {
    if (rows !== null) this.#pages.keep(rows);
    const to = rows?.to ?? after;
    for (const reader of [...this.#waiting]) {
      if (reader.after >= after && (reader.after < to || to === after)) this.#serve(reader);
    }
    return to;
  }

  /** The next row cannot be sent: its readers get a reset and continue after it (I2). */
  #withhold({ seq, reason, message }: Withheld): void {
    const { epoch } = this.#state;
    for (const reader of [...this.#readers]) {
      if (reader.after !== seq - 1) continue;
      reader.reset(reason, { epoch, seq }, message);
      if (this.#waiting.has(reader)) this.#serve(reader);
    }
  }

  #serve(reader: Reader): void {
    this.#waiting.delete(reader);
    reader.advance();
  }

  /** Rows that should exist are missing: their readers get a reset and never skip them silently (I2). */
  async #missing(after: number, next: number): Promise<void> {
    const { epoch } = this.#state;
    const there = await this.refresh();
    // Deleted with triggers disabled, so that the floor was not raised: no row is left before the next one.
    if (there && this.#state.epoch === epoch && this.#state.floor <= after + 1) {
      const last = Math.min(next - 1, this.#state.head);
      for (const reader of [...this.#readers]) {
        if (reader.after >= after && reader.after < last) reader.reset('pruned', { epoch, seq: last });
      }
    }
    for (const reader of [...this.#waiting]) this.#serve(reader);
  }
}
