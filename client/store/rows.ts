import type { Row } from '../protocol/index.js';
import type { Reset, StreamEvent } from '../subscription/subscription.js';

/** The newest events of a channel: an immutable view. Making one copies no events. */
export interface Rows<R extends object = Row> {
  readonly length: number;
  /** The event at an index, 0 the oldest that is kept. */
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
