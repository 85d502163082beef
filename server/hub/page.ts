import { type EventsFrame, eventsFrame } from '../ports/events-frame.js';
import { COMMA, type RowTexts } from '../ports/row-texts.js';

/** The maximum size of a page, in rows and bytes. */
export interface PageLimits {
  readonly rows: number;
  readonly bytes: number;
}

/** Frames cached per page. The readers of a channel have few different positions. */
const FRAMES = 4;

/** Factor by which the memory of a page is enlarged when a row does not fit. */
const GROWTH = 1.5;

/** Consecutive rows of one channel, and the frames made from them. */
export class Page {
  readonly from: number;
  readonly #channel: string;
  readonly #limits: PageLimits;
  /** The texts of the rows, joined by commas, and behind them room for more. */
  #bytes: Buffer = Buffer.alloc(0);
  /** Where each text ends. */
  readonly #ends: number[] = [];
  readonly #frames = new Map<number, EventsFrame>();
  #frameBytes = 0;

  constructor(channel: string, from: number, limits: PageLimits) {
    this.#channel = channel;
    this.from = from;
    this.#limits = limits;
  }

  get to(): number {
    return this.from + this.#ends.length - 1;
  }

  get full(): boolean {
    return this.#ends.length >= this.#limits.rows || this.#rowBytes >= this.#limits.bytes;
  }

  /** The size of the rows and of the cached frames. */
  get bytes(): number {
    return this.#rowBytes + this.#frameBytes;
  }

  get #rowBytes(): number {
    return this.#end + 1 - this.#ends.length;
  }

  get #end(): number {
    return this.#ends.at(-1) ?? -1;
  }

  /** Appends the rows that follow, up to `upTo`, as many as there is room for, and at least one if it is not full. */
  append(rows: RowTexts, upTo: number): void {
    const first = this.to + 1 - rows.from;
    const last = Math.min(upTo, rows.to) - rows.from;
    const start = first === 0 ? 0 : (rows.ends[first - 1] ?? 0) + 1;
    const at = this.#end + 1;
    let end = start;
    for (let index = first; index <= last && !this.full; index += 1) {
      end = rows.ends[index] ?? end;
      this.#ends.push(at + end - start);
    }
    if (at === 0 && start === 0 && end === rows.bytes.length) this.#bytes = rows.bytes;
    else this.#write(rows.bytes.subarray(start, end), at);
    this.#frames.clear();
    this.#frameBytes = 0;
  }

  /** Returns the frame of all rows after `after`, which must be from `from - 1` to `to - 1`. */
  frame(after: number): EventsFrame {
    const made = this.#frames.get(after);
    if (made !== undefined) return made;
    const start = after < this.from ? 0 : (this.#ends[after - this.from] ?? 0) + 1;
    const frame = eventsFrame(this.#channel, after + 1, this.to, this.#bytes.subarray(start, this.#end));
    const oldest = this.#frames.size < FRAMES ? undefined : this.#frames.entries().next().value;
    if (oldest !== undefined) {
      this.#frames.delete(oldest[0]);
      this.#frameBytes -= oldest[1].message.length;
    }
    this.#frames.set(after, frame);
    this.#frameBytes += frame.message.length;
    return frame;
  }

  #write(texts: Buffer, at: number): void {
    const length = at + texts.length;
    if (length > this.#bytes.length) {
      // Not of the pool, a slab of which would be kept for each page.
      const larger = Buffer.allocUnsafeSlow(at === 0 ? length : Math.ceil(length * GROWTH));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    if (at > 0) this.#bytes[at - 1] = COMMA;
    texts.copy(this.#bytes, at);
  }
}
