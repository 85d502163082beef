/** A row of a channel: its number and its columns as JSON text. */
export interface StoredRow {
  readonly seq: number;
  readonly json: string;
}

/** What joins the texts of rows, as a byte. */
export const COMMA = ','.charCodeAt(0);

/**
 * Consecutive rows of a channel, at least one: their JSON texts as bytes, joined by commas as in a frame. Rows in bytes cost the
 * garbage collector nothing, however many are in memory.
 */
export class RowTexts {
  /** The seq of the first row. */
  readonly from: number;
  readonly bytes: Buffer;
  /** Where in the bytes each text ends. */
  readonly ends: readonly number[];

  constructor(from: number, bytes: Buffer, ends: readonly number[]) {
    this.from = from;
    this.bytes = bytes;
    this.ends = ends;
  }

  /** Returns null if there are no texts. */
  static of(from: number, texts: readonly string[]): RowTexts | null {
    let end = -1;
    const ends = texts.map((text) => {
      end += 1 + Buffer.byteLength(text);
      return end;
    });
    return texts.length === 0 ? null : new RowTexts(from, Buffer.from(texts.join(',')), ends);
  }

  /** Takes apart texts that are joined by a character of one byte, up to the first that is empty. */
  static split(from: number, joined: string, separator: string): RowTexts | null {
    const bytes = Buffer.from(joined);
    const byte = separator.charCodeAt(0);
    const ends: number[] = [];
    for (let start = 0; start < bytes.length; ) {
      const found = bytes.indexOf(byte, start);
      const end = found < 0 ? bytes.length : found;
      if (end === start) break;
      if (found >= 0) bytes[found] = COMMA;
      ends.push(end);
      start = end + 1;
    }
    return ends.length === 0 ? null : new RowTexts(from, bytes, ends);
  }

  get length(): number {
    return this.ends.length;
  }

  /** The seq of the last row. */
  get to(): number {
    return this.from + this.ends.length - 1;
  }

  *[Symbol.iterator](): Iterator<StoredRow> {
    let start = 0;
    for (const [index, end] of this.ends.entries()) {
      yield { seq: this.from + index, json: this.bytes.toString('utf8', start, end) };
      start = end + 1;
    }
  }
}
