import type { Position, ResetReason } from '@rowcast/client/protocol';

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

/** The tables, read by position. Every method rejects with `Unavailable` while the database cannot be reached. */
export interface Log {
  /**
   * The state of a channel, read on the connection of the tail: a row that this snapshot misses is in a movement
   * that comes later. Null where there is no such channel; `InvalidChannel` where the name is not one.
   */
  open(channel: string): Promise<ChannelState | null>;
  /** The rows that follow `after`, up to `upTo`; at least the first one, then as many as a page may hold. */
  page(channel: string, after: number, upTo: number): Promise<RunOfRows>;
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

/** What one read of the tail found. */
export interface TailRead {
  /** Committed transactions that wrote events. */
  readonly commits: number;
  /** Every transaction with a lower number had ended. */
  readonly xmin: bigint;
}

/** The lock that says that a gateway is awake. */
export interface Gate {
  /** Queues for the gate; `onTaken` once it is held, `onLost` if the session that held or queued has died. */
  take(events: { onTaken(): void; onLost(): void }): void;
  /** The gateway lives and reads: without that the gate is taken from it after a while. */
  renew(): void;
  /** Gives it back, or leaves the queue; resolves when every later probe finds the gate free of this gateway. */
  leave(): Promise<void>;
}

/** Somebody who reads a channel: a cursor. */
export interface Reader {
  /** The seq of the last event that was sent. */
  readonly after: number;
  /** There may be something to send. */
  advance(): void;
  /** What follows `after` is gone: go on after `position`. */
  reset(reason: ResetReason, position: Position): void;
  /** The channel is gone. */
  end(): void;
}

/** A channel name that cannot be one; the message says how to write it. */
export class InvalidChannel extends Error {
  override readonly name = 'InvalidChannel';
}
