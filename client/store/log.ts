import type { RowcastError } from '../ground/error.js';
import type { Row } from '../protocol/index.js';
import type { Reset, StreamEvent } from '../subscription/subscription.js';
import type { Live } from './live.js';

export interface LogFilter {
  /** Text in the message, without regard to case. */
  readonly q?: string | undefined;
  readonly level?: readonly string[] | undefined;
  readonly type?: readonly string[] | undefined;
  /** `context.agent` of the row. */
  readonly agent?: readonly string[] | undefined;
  readonly stage?: readonly number[] | undefined;
}

export interface LogOptions {
  readonly filter?: LogFilter | undefined;
  /** Rows of a page: 500. */
  readonly page?: number | undefined;
  /** How many bytes of pages are kept: 8 MiB. */
  readonly bytes?: number | undefined;
}

/**
 * A whole channel as a list, of which only what is shown was loaded. Without a filter index 0 is the event `floor`, and
 * `length` counts all events from there to the head; with one, the matches that were found so far.
 */
export interface LogWindow<R extends object = Row> {
  readonly status: Live<unknown>['status'];
  readonly error: RowcastError | null;
  readonly length: number;
  /** Undefined while it is not loaded: `show` loads it. */
  at(index: number): StreamEvent<R> | undefined;
  /** The seq at an index, loaded or not. With a filter: of the match. */
  seqAt(index: number): number | undefined;
  /** The index of the event with this seq; of the next one that matches, with a filter. `length` if there is none. */
  indexOf(seq: number): number;
  readonly floor: number;
  readonly head: number;
  /** The part of the channel that was searched for matches, from the newest back; null without a filter. */
  readonly searched: { readonly from: number; readonly to: number } | null;
  /** The latest places at which history could not be served. */
  readonly resets: readonly Reset[];
  /** The rows from one index to another, the last excluded, are visible: loads what is missing of them. Call it in an effect. */
  show(from: number, to: number): void;
}
