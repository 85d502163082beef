import type { EventsFrame } from '../ports/events-frame.js';
import type { RowTexts } from '../ports/row-texts.js';
import type { PageCache, PageOwner } from './cache.js';
import { Page, type PageLimits } from './page.js';

/** The pages of one channel that are in memory, sorted. */
export class ChannelPages implements PageOwner {
  readonly #channel: string;
  readonly #limits: PageLimits;
  readonly #cache: PageCache;
  #pages: Page[] = [];
  /** The frame that was made last. Most readers of a channel stand at the same position, and are sent it one after the other. */
  #latest: EventsFrame | null = null;

  constructor(channel: string, limits: PageLimits, cache: PageCache) {
    this.#channel = channel;
    this.#limits = limits;
    this.#cache = cache;
  }

  /** Returns the frame of the events after `after`, or null if they are not in memory. */
  frame(after: number): EventsFrame | null {
    if (this.#latest?.from === after + 1) return this.#latest;
    const page = this.#pages.findLast(({ from }) => from <= after + 1);
    if (page === undefined || page.to <= after) return null;
    const frame = page.frame(after);
    this.#cache.use(page, this);
    this.#latest = frame;
    return frame;
  }

  /** The seq from which rows after `after` are in memory; infinite if there are none. */
  nextAfter(after: number): number {
    return this.#pages.find(({ to }) => to > after)?.from ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Adds rows. Those that are in memory already are skipped, so that pages never overlap: the rows of a movement may begin before
   * a page that was loaded, and end after it.
   */
  keep(rows: RowTexts): void {
    const grown: Page[] = [];
    this.#latest = null;
    for (let seq = rows.from; seq <= rows.to; ) {
      const at = this.#pages.findLastIndex(({ from }) => from <= seq);
      let page = this.#pages[at];
      if (page === undefined || page.to < seq) {
        const next = this.#pages[at + 1]?.from ?? Number.POSITIVE_INFINITY;
        if (page === undefined || page.to + 1 < seq || page.full) {
          page = new Page(this.#channel, seq, this.#limits);
          this.#pages.splice(at + 1, 0, page);
        }
        page.append(rows, next - 1);
        grown.push(page);
      }
      seq = page.to + 1;
    }
    // Not before the last row: the cache may evict a page that was recorded earlier.
    for (const each of grown) this.#cache.use(each, this);
  }

  /** Called by the cache. */
  forget(page: Page): void {
    this.#pages = this.#pages.filter((kept) => kept !== page);
    this.#latest = null;
  }

  clear(): void {
    for (const page of this.#pages) this.#cache.drop(page);
    this.#pages = [];
    this.#latest = null;
  }
}
