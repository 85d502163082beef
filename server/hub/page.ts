import { eventsFrame } from '../ports/events-frame.js';
import type { StoredRow } from '../ports/feed.js';

/** The events from + … to of one channel, encoded once for every cursor that needs just them. */
export interface RangeFrame {
  readonly to: number;
  readonly data: Buffer;
}

/** Frames kept per page: readers of one channel stand at few different seqs. */
const FRAMES = 4;

/** A contiguous run of rows of one channel, and the frames that were cut from it. */
export class Page {
  readonly from: number;
  readonly #channel: string;
  readonly #rows: string[] = [];
  readonly #frames = new Map<number, RangeFrame>();
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

  /** Of the rows alone: what makes a page full. */
  get rowBytes(): number {
    return this.#rowBytes;
  }

  /** What the page takes in memory. */
  get bytes(): number {
    return this.#rowBytes + this.#frameBytes;
  }

  /** Adds the row numbered `to + 1`. */
  append(row: StoredRow): void {
    if (row.seq !== this.to + 1) throw new Error(`row ${row.seq} does not follow ${this.to}`);
    this.#rows.push(row.json);
    this.#rowBytes += Buffer.byteLength(row.json);
    if (this.#frames.size > 0) {
      this.#frames.clear();
      this.#frameBytes = 0;
    }
  }

  /** The frame that follows `after`, which must be in from - 1 … to - 1. */
  frame(after: number): RangeFrame {
    const made = this.#frames.get(after);
    if (made !== undefined) return made;
    const rows = this.#rows.slice(after + 1 - this.from);
    const frame = { to: this.to, data: eventsFrame(this.#channel, after + 1, rows) };
    const oldest = this.#frames.size < FRAMES ? undefined : this.#frames.entries().next().value;
    if (oldest !== undefined) {
      this.#frames.delete(oldest[0]);
      this.#frameBytes -= oldest[1].data.length;
    }
    this.#frames.set(after, frame);
    this.#frameBytes += frame.data.length;
    return frame;
  }
}
