import type { Position, ResetReason } from '@rowcast/client/protocol';

/** A cursor in a channel. The channel calls it when something changes. */
export interface Reader {
  /** The seq of the last event that was sent. */
  readonly after: number;
  /** New events may be available. */
  advance(): void;
  /** The events after `after` cannot be read, or the next one cannot be sent, as `message` explains: continue after `position`. */
  reset(reason: ResetReason, position: Position, message?: string): void;
  /** The channel cannot be read at present. */
  stall(): void;
  /** The channel can be read. Also called if it could be read all the time. */
  resume(): void;
  /** The channel no longer exists. */
  end(): void;
}
