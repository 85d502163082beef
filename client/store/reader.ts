import type { Since } from '../protocol/index.js';
import type { Reset, StreamEvent } from '../subscription/subscription.js';

/** Makes what is shown of the events of one channel. */
export interface Reader<T> {
  /** Drops what it has, and says where to begin. */
  begin(signal: AbortSignal): Since | Promise<Since>;
  event(event: StreamEvent): void;
  /** Events are missing. Returns whether it has to begin anew. */
  reset(reset: Reset): boolean;
  /** What is shown, at a time in milliseconds since 1970. The same object as long as nothing changed. */
  value(now: number, range: Range): T;
  /** No event that matters will follow. */
  ended?(): boolean;
  /** The value changes with time. */
  ticks?(): boolean;
  /** How much memory it takes. */
  readonly bytes?: number;
}

/** What is known of the channel. */
export interface Range {
  readonly floor: number;
  readonly head: number;
  readonly position: string | null;
}
