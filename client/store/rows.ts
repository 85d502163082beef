/** The newest events of a channel, bounded in number and in bytes. */
import type { Row, Since } from '../protocol/index.js';
import type { Reset, StreamEvent } from '../subscription/subscription.js';
import type { RowSchema } from './channel-options.js';
import type { Range, Reader } from './reader.js';
import { sizeOf } from './size-of.js';

/** An immutable view of the newest events of a channel. Making one copies no events. */
export interface Rows<R extends object = Row> {
  readonly length: number;
  /** The event at an index, as of an array: 0 is the oldest that is kept, -1 the newest. */
  at(index: number): StreamEvent<R> | undefined;
  [Symbol.iterator](): Iterator<StreamEvent<R>>;
  /** The seq of the oldest event that is kept; 0 if there is none. */
  readonly first: number;
  /** The newest seq that is known of, and the oldest that can be read; 0 before anything is known. */
  readonly head: number;
  readonly floor: number;
  /** The position after the last event; null before anything is known. */
  readonly position: string | null;
  /** How many events were left out at the front to keep within the bounds. */
  readonly dropped: number;
  /** How many events the schema refused. They are left out. */
  readonly invalid: number;
  /** The latest places at which history could not be served. */
  readonly resets: readonly Reset[];
}

/** Events at the front that are dropped at once. */
const CHUNK = 256;
/** How many bytes the events of one channel may take, as JSON. */
const MAX_BYTES = 8 * 1024 * 1024;
/** How many resets are kept. */
export const MAX_RESETS = 100;

interface Kept<R extends object> {
  readonly event: StreamEvent<R>;
  readonly bytes: number;
}

/** The view shares `kept`, which only grows behind it. */
function viewOf<R extends object>(
  kept: readonly Kept<R>[],
  skip: number,
  told: Omit<Rows<R>, 'at' | 'first' | typeof Symbol.iterator>,
): Rows<R> {
  const { length } = told;
  const at = (index: number) => {
    const own = index < 0 ? length + index : index;
    return own < 0 || own >= length ? undefined : kept[skip + own]?.event;
  };
  return {
    ...told,
    at,
    first: at(0)?.seq ?? 0,
    *[Symbol.iterator]() {
      for (let index = 0; index < length; index += 1) yield at(index) as StreamEvent<R>;
    },
  };
}

export interface RowsOptions<R> {
  readonly since: Since;
  readonly keep: number;
  readonly schema: RowSchema<R> | undefined;
}

export class RowsReader<R extends object> implements Reader<Rows<R>> {
  readonly #since: Since;
  readonly #keep: number;
  readonly #schema: RowSchema<R> | undefined;
  #kept: Kept<R>[] = [];
  /** Events at its front that have been dropped. Older views may still show them. */
  #skip = 0;
  #bytes = 0;
  #dropped = 0;
  #invalid = 0;
  #resets: readonly Reset[] = [];

  constructor({ since, keep, schema }: RowsOptions<R>) {
    this.#since = since;
    this.#keep = keep;
    this.#schema = schema;
  }

  get bytes(): number {
    return this.#bytes;
  }

  begin(): Since {
    this.#kept = [];
    this.#skip = 0;
    this.#bytes = 0;
    this.#dropped = 0;
    this.#invalid = 0;
    return this.#since;
  }

  event(event: StreamEvent): void {
    const row = this.#checked(event.row);
    if (row === null) {
      this.#invalid += 1;
      return;
    }
    const bytes = sizeOf(event.row);
    this.#kept.push({ event: { ...event, row }, bytes });
    this.#bytes += bytes;
    while (this.#length > this.#keep || (this.#bytes > MAX_BYTES && this.#length > 1)) this.#drop();
  }

  /** Where the numbering is another one, what is shown begins anew, as if it had just been opened. */
  reset(reset: Reset): boolean {
    this.#resets = [...this.#resets, reset].slice(-MAX_RESETS);
    return reset.reason === 'epoch' || reset.reason === 'ahead';
  }

  value(_now: number, range: Range): Rows<R> {
    const [length, dropped, invalid, resets] = [this.#length, this.#dropped, this.#invalid, this.#resets];
    return viewOf(this.#kept, this.#skip, { ...range, length, dropped, invalid, resets });
  }

  get #length(): number {
    return this.#kept.length - this.#skip;
  }

  #drop(): void {
    this.#bytes -= this.#kept[this.#skip]?.bytes ?? 0;
    this.#skip += 1;
    this.#dropped += 1;
    if (this.#skip < CHUNK) return;
    this.#kept = this.#kept.slice(this.#skip);
    this.#skip = 0;
  }

  /** The row as the schema returns it; null if it refuses it. */
  #checked(row: Row): R | null {
    const result = this.#schema?.['~standard'].validate(row);
    if (result === undefined) return row as R;
    if (result instanceof Promise) throw new TypeError('the schema is asynchronous');
    return result.issues === undefined ? result.value : null;
  }
}
