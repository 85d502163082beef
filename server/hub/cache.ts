import type { Page } from './page.js';

/** Bounds the memory of the pages of all channels: evicts the least recently used page (I6). */
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

  /** Records that a page was made, has grown or was used. The most recent page is never evicted, because it is about to be sent. */
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
