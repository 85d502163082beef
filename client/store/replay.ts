import type { Store } from './live.js';
import type { Tracking } from './tracking.js';

/** Events of a second of the execution's time that are played in a second. */
export type Speed = 1 | 2 | 4 | 8 | 16;

/** An execution as it was after one of its events. */
export interface Replay {
  /** The event, and the head of the log. */
  readonly seq: number;
  readonly head: number;
  /** The time of the event, in milliseconds since 1970; null before the first. */
  readonly at: number | null;
  /** It follows the head. */
  readonly edge: boolean;
  readonly playing: boolean;
  readonly speed: Speed;
  /** Undefined until enough is loaded. While a place is being loaded it is that of the last place. */
  readonly tracking: Tracking | undefined;
}

export interface ReplayStore extends Store<Replay> {
  seek(seq: number): void;
  step(by: 1 | -1): void;
  play(speed?: Speed): void;
  pause(): void;
  /** Follows the head again. */
  live(): void;
}
