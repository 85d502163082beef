import type { Page } from './page.js';

/** The channel of a page. */
export interface PageOwner {
  /** The page was evicted. */
  forget(page: Page): void;
}

interface Entry {
  readonly owner: PageOwner;
  bytes: number;
}

/** Bounds the memory of the pages of all channels: evicts the least recently used page (I6). */
export class PageCache {
  readonly #maxBytes: number;
  readonly #pages = new Map<Page, Entry>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Records that a page was made, has grown or was used. The most recent page is never evicted, because it is about to be sent. */
  use(page: Page, owner: PageOwner): void {
    const entry = this.#pages.get(page) ?? { owner, bytes: 0 };
    this.#pages.delete(page);
    this.#pages.set(page, entry);
    this.#bytes += page.bytes - entry.bytes;
    entry.bytes = page.bytes;
    while (this.#bytes > this.#maxBytes && this.#pages.size > 1) {
      const oldest = this.#pages.entries().next().value;
      if (oldest === undefined) return;
      this.drop(oldest[0]);
      oldest[1].owner.forget(oldest[0]);
    }
  }

  drop(page: Page): void {
    this.#bytes -= this.#pages.get(page)?.bytes ?? 0;
    this.#pages.delete(page);
  }
}
