import type { Page } from './page.js';

/** Keeps the pages of all channels within one bound of bytes: the least recently used goes first (I6). */
export class PageCache {
  readonly #maxBytes: number;
  readonly #pages = new Map<Page, { bytes: number; evict: () => void }>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The page was made, grew or was used. The page used last is never evicted: somebody is about to send it. */
  use(page: Page, evict: () => void): void {
    this.drop(page);
    this.#pages.set(page, { bytes: page.bytes, evict });
    this.#bytes += page.bytes;
    while (this.#bytes > this.#maxBytes && this.#pages.size > 1) {
      const oldest = this.#pages.entries().next().value;
      if (oldest === undefined) return;
      this.drop(oldest[0]);
      oldest[1].evict();
    }
  }

  drop(page: Page): void {
    this.#bytes -= this.#pages.get(page)?.bytes ?? 0;
    this.#pages.delete(page);
  }
}
