import { checkNames } from '../ground/options.js';
import type { BreakerState } from './breaker.js';
import type { Intervals, StateOf } from './pacing.js';
import type { RequestStats, Thresholds, Warning } from './statistics.js';

/** How a polling client polls. Times in milliseconds. */
export interface PollingSettings extends Intervals {
  readonly stateOf: StateOf;
  /** How long a request may take. */
  readonly timeout: number;
  /** The number of failures in a row that open the breaker. */
  readonly breakerFailures: number;
  /** How long the breaker stays open. */
  readonly breakerCooldown: number;
  readonly thresholds: Thresholds;
  /** Called after each request, and when something else in the statistics has changed. */
  readonly onStats?: ((stats: PollingStats) => void) | undefined;
  /** Called once when a value rises above its threshold. */
  readonly onWarning?: ((warning: Warning) => void) | undefined;
}

type Optional<T> = { readonly [K in keyof T]?: T[K] | undefined };

export interface PollingOptions extends Optional<Omit<PollingSettings, 'thresholds'>> {
  readonly thresholds?: Optional<Thresholds> | undefined;
}

/** The statistics of polling. Times in milliseconds. */
export interface PollingStats extends RequestStats {
  /** From the last response, or failure, to the next request in turn; null while none is planned. */
  readonly interval: number | null;
  readonly breaker: BreakerState;
  readonly paused: boolean;
  /** The values above which a warning is given. */
  readonly thresholds: Thresholds;
}

/** The statistics before the first request, with the default thresholds. */
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
  thresholds: { failureRate: 0.05, response: 5_000, recovery: 60_000 },
};

/** The longest delay of a timer, in milliseconds. A longer one fires at once. */
const LONGEST = 2 ** 31 - 1;

const TIMES = ['interval', 'running', 'pending', 'timeout', 'breakerFailures', 'breakerCooldown'] as const;
const THRESHOLDS = Object.keys(NO_STATS.thresholds) as (keyof Thresholds)[];

/** Throws `TypeError` for an option that does not exist, and `RangeError` for a number that no timer can keep. */
export function checkPolling(polling: PollingOptions): void {
  const { thresholds = {} } = polling;
  checkNames('polling', polling, [...TIMES, 'stateOf', 'thresholds', 'onStats', 'onWarning']);
  checkNames('polling.thresholds', thresholds, THRESHOLDS);
  for (const name of TIMES) check(name, polling[name], Number.MIN_VALUE, LONGEST);
  for (const name of THRESHOLDS) check(`thresholds.${name}`, thresholds[name], 0, Number.POSITIVE_INFINITY);
}

function check(name: string, value: number | undefined, least: number, most: number): void {
  const valid = value === undefined || (typeof value === 'number' && value >= least && value <= most);
  if (!valid) throw new RangeError(`polling.${name}: ${value}`);
}
