import { type EventsFrame, eventsFrame } from '../ports/events-frame.js';
import type { StoredRow } from '../ports/feed.js';

/** Frames cached per page. The readers of a channel have few different positions. */
const FRAMES = 4;

/** Consecutive rows of one channel, and the frames made from them. */
export class Page {
  readonly from: number;
  readonly #channel: string;
  readonly #rows: string[] = [];
  readonly #frames = new Map<number, EventsFrame>();
  #rowBytes = 0;
  #frameBytes = 0;

  constructor(channel: string, from: number) {
    this.#channel = channel;
    this.from = from;
  }

  get to(): number {
    return this.from + this.#rows.length - 1;
  }

  get rows(): number {
    return this.#rows.length;
  }

  /** The size of the rows, which decides when the page is full. */
  get rowBytes(): number {
    return this.#rowBytes;
  }

  /** The size of the rows and of the cached frames. */
  get bytes(): number {
    return this.#rowBytes + this.#frameBytes;
  }

  /** Appends a row, whose seq must be `to + 1`. Throws otherwise. */
  append(row: StoredRow): void {
    if (row.seq !== this.to + 1) throw new Error(`row ${row.seq} does not follow ${this.to}`);
    this.#rows.push(row.json);
    this.#rowBytes += Buffer.byteLength(row.json);
    if (this.#frames.size > 0) {
      this.#frames.clear();
      this.#frameBytes = 0;
    }
  }

  /** Returns the frame of all rows after `after`, which must be from `from - 1` to `to - 1`. */
  frame(after: number): EventsFrame {
    const made = this.#frames.get(after);
    if (made !== undefined) return made;
    const rows = this.#rows.slice(after + 1 - this.from);
    const frame = eventsFrame(this.#channel, after + 1, rows);
    const oldest = this.#frames.size < FRAMES ? undefined : this.#frames.entries().next().value;
    if (oldest !== undefined) {
      this.#frames.delete(oldest[0]);
      this.#frameBytes -= oldest[1].message.length;
    }
    this.#frames.set(after, frame);
    this.#frameBytes += frame.message.length;
    return frame;
  }
}
