import type { Clock } from '../ports/clock.js';
import type { RunOfRows } from '../ports/feed.js';

/** A page that is being read: the events after `after`, up to `upTo`. */
export interface PageRead {
  readonly after: number;
  readonly upTo: number;
  readonly run: Promise<RunOfRows>;
}

/**
 * Reads the next page of a channel while a reader is sent the one before, so that the gateway and the database work at the
 * same time. At most one page is read ahead. It begins where the next page would, if that had as many rows as the last.
 */
export class ReadAhead {
  readonly #clock: Clock;
  readonly #read: (after: number) => PageRead | null;
  readonly #keep: (read: PageRead, run: RunOfRows) => void;
  #ahead: PageRead | null = null;
  #cancel: () => void = () => {};

  /** `read` begins to read a page, or returns null if there is none to read; `keep` gets one that was read before it was wanted. */
  constructor(clock: Clock, read: (after: number) => PageRead | null, keep: (read: PageRead, run: RunOfRows) => void) {
    this.#clock = clock;
    this.#read = read;
    this.#keep = keep;
  }

  /** Returns the page after `after` if it is being read, which is from now on the caller's. */
  take(after: number): PageRead | null {
    this.#cancel();
    if (this.#ahead?.after !== after) return null;
    const taken = this.#ahead;
    this.#ahead = null;
    return taken;
  }

  /** Reads the page after `after`, in a statement of its own: not in the one that is made of the pages that are wanted now. */
  begin(after: number): void {
    this.#cancel();
    if (this.#ahead !== null) return;
    this.#cancel = this.#clock.after(0, () => {
      const ahead = this.#read(after);
      this.#ahead = ahead;
      ahead?.run.then(
        (run) => {
          if (this.#ahead !== ahead) return;
          this.#ahead = null;
          this.#keep(ahead, run);
        },
        () => {
          if (this.#ahead === ahead) this.#ahead = null; // a reader that wants the page reads it again
        },
      );
    });
  }

  /** Forgets the page: its rows may belong to another numbering, or are not needed. */
  drop(): void {
    this.#cancel();
    this.#ahead = null;
  }
}
