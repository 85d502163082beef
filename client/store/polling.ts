import type { PollingOptions, PollingStats } from '../polling/settings.js';
import type { Warning } from '../polling/statistics.js';
import type { Store } from './live.js';

export interface PollingState extends PollingStats {
  /** Whether it polls on an interval at present: after `only(['poll'])`. Else nothing below has an effect. */
  readonly active: boolean;
  /** The latest warnings, the newest last. */
  readonly warnings: readonly Warning[];
}

export type PollingIntervals = Pick<PollingOptions, 'interval' | 'running' | 'pending'>;

export interface PollingStore extends Store<PollingState> {
  pause(): void;
  resume(): void;
  /** Polls now. */
  refresh(): void;
  /** Polls on other intervals from now on. */
  setIntervals(intervals: PollingIntervals): void;
}
