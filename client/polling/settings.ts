import type { BreakerState } from './breaker.js';
import type { Intervals, StateOf } from './channels.js';
import type { RequestStats, Thresholds, Warning } from './statistics.js';

/** How a polling client polls. Times in milliseconds. */
export interface PollingSettings extends Intervals {
  readonly stateOf: StateOf;
  /** How long a request may take. */
  readonly timeout: number;
  /** So many failures in a row open the breaker. */
  readonly breakerFailures: number;
  /** How long it then stays open. */
  readonly breakerCooldown: number;
  readonly thresholds: Thresholds;
  /** Told after each request, and whenever something of it changes. */
  readonly onStats?: (stats: PollingStats) => void;
  /** Told once when a value rises above its threshold. */
  readonly onWarning?: (warning: Warning) => void;
}

export interface PollingOptions extends Partial<Omit<PollingSettings, 'thresholds'>> {
  readonly thresholds?: Partial<Thresholds>;
}

/** How the polling goes. Times in milliseconds. */
export interface PollingStats extends RequestStats {
  /** From the last answer, or failure, to the next request in its turn; null while none is to come. */
  readonly interval: number | null;
  readonly breaker: BreakerState;
  readonly paused: boolean;
}

/** What there is to tell before the first request. */
export const NO_STATS: PollingStats = {
  requests: 0,
  failures: 0,
  successRate: 1,
  meanResponse: 0,
  p95Response: 0,
  recovery: null,
  interval: null,
  breaker: 'closed',
  paused: false,
};
