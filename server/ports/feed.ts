/**
 * The seam between the hub and the source of its rows. A `Feed` reports new rows of channels, `Pages` reads older ones.
 * Both are implemented with PostgreSQL: by the tail, and by a pool.
 */

import type { RowTexts } from './row-texts.js';

/** The state of a channel: the events from floor to head can be read. There are none if floor is head + 1. */
export interface ChannelState {
  readonly epoch: string;
  readonly floor: number;
  readonly head: number;
}

/** Consecutive rows of one channel, null if there are none, and the epoch of their numbers. */
export interface RunOfRows {
  readonly epoch: string;
  readonly rows: RowTexts | null;
  /** Set instead of rows if the first one cannot be sent. */
  readonly withheld?: Withheld;
}

/** A row that cannot be sent: it is larger than an event may be, or the database cannot encode it. */
export interface Withheld {
  readonly seq: number;
  readonly reason: 'too_large' | 'unreadable';
  /** An explanation for people. */
  readonly message: string;
}

/** The head of a channel has risen. `rows` are the first of the new rows, or null if there are too many. */
export interface Movement extends RunOfRows {
  readonly channel: string;
  readonly head: number;
}

/** Receives the reports of a feed. */
export interface Movements {
  /** An open channel has new rows. */
  moved(movement: Movement): void;
  /** Movements may have been lost: the state of every channel must be read again. */
  recheckAll(): void;
  /** The same for the channels of one stream: it can no longer be read, or can be read again. */
  recheck(stream: string): void;
}

/** Opens channels and reports their movements. */
export interface Feed {
  /** Connects, and reports to `movements` until `stop`. Rejects if the first connection fails. */
  start(movements: Movements): Promise<void>;
  /**
   * Reads the state of a channel, and reports its movements until `leave`. A row that is not in this state is in a later
   * movement. Resolves to null if there is no such channel. Rejects with `Refusal` (invalid_channel) if the name is
   * malformed, with `StreamUnreadable` while its stream cannot be read, and with `Unavailable` while the database cannot.
   */
  open(channel: string): Promise<ChannelState | null>;
  /** Stops the reports of a channel. Also called if `open` failed. */
  leave(channel: string): void;
  stop(): Promise<void>;
}

/** Reads rows of channels by position. */
export interface Pages {
  /**
   * Reads the rows after the seq `after` up to `upTo`: at least the first one, and as many as a page may hold. Rejects
   * with `Unavailable` while the database cannot be reached.
   */
  page(channel: string, after: number, upTo: number): Promise<RunOfRows>;
}
