/**
 * The seam between the hub and where its rows come from. A `Feed` says that channels have moved, `Pages` reads what is
 * further back. Today both are PostgreSQL: the tail, and a pool.
 */

/** A row of a channel: its number and its columns as JSON text. */
export interface StoredRow {
  readonly seq: number;
  readonly json: string;
}

/** Where a channel's numbering stands: events floor to head can be read (none where floor is head + 1). */
export interface ChannelState {
  readonly epoch: string;
  readonly floor: number;
  readonly head: number;
}

/** Rows of one channel without a hole, and the epoch in which they have these numbers. */
export interface RunOfRows {
  readonly epoch: string;
  readonly rows: readonly StoredRow[];
}

/** A channel's head has moved. `rows` are the first of the new rows, where they were few enough to come along. */
export interface Movement extends RunOfRows {
  readonly channel: string;
  readonly head: number;
}

/** What a feed tells its hub. */
export interface Movements {
  /** An open channel has new rows. */
  moved(movement: Movement): void;
  /** Movements alone cannot tell what happened: the state of every channel is to be read again. */
  recheckAll(): void;
}

/** Which channels exist, where they stand, and that they move. */
export interface Feed {
  /** Connects, and reports to `movements` from now on. Rejects if the first connection fails. */
  start(movements: Movements): Promise<void>;
  /**
   * The state of a channel, whose movements are reported from now on until `leave`: a row that this state misses is in
   * a movement that comes later. Null where there is no such channel; rejects with `Refusal` (invalid_channel) where the name
   * is not one, and with `Unavailable` while the database cannot be reached.
   */
  open(channel: string): Promise<ChannelState | null>;
  /** The channel is of no interest any more, also where it did not open. */
  leave(channel: string): void;
  stop(): Promise<void>;
}

/** The rows of channels, read by position. */
export interface Pages {
  /**
   * The rows that follow `after`, up to `upTo`; at least the first one, then as many as a page may hold. Rejects with
   * `Unavailable` while the database cannot be reached.
   */
  page(channel: string, after: number, upTo: number): Promise<RunOfRows>;
}
