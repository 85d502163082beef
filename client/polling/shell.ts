import { LateCarrier } from '../late.js';
import type { Poller } from './poller.js';
import type { ServiceOptions } from './service.js';
import { NO_STATS, type PollingStats } from './settings.js';

/** What a polling client can do besides. */
export interface Polling {
  stats(): PollingStats;
  /** No request until `resume`. */
  pause(): void;
  resume(): void;
  /** Asks now, for what was finished as well; while paused, once. */
  refresh(): void;
}

/** The longest time that a timer takes, in milliseconds; beyond it rings at once. */
const LONGEST = 2 ** 31 - 1;

const TIMES = ['interval', 'running', 'pending', 'timeout', 'breakerFailures', 'breakerCooldown'] as const;
const THRESHOLDS = ['failureRate', 'response', 'recovery'] as const;

/** What is left out has a default. */
function check(name: string, value: number | undefined, least = Number.MIN_VALUE, most = LONGEST): void {
  if (value !== undefined && !(typeof value === 'number' && value >= least && value <= most))
    throw new RangeError(`polling.${name}: ${value}`);
}

/** Stands for the poller while that is loaded. */
export class PollingShell extends LateCarrier<Poller> implements Polling {
  #paused = false;
  #refreshed = false;

  /** Throws `RangeError` for a time or number that no timer can keep. */
  constructor(options: ServiceOptions) {
    const { polling } = options;
    for (const name of TIMES) check(name, polling[name]);
    for (const name of THRESHOLDS) check(`thresholds.${name}`, polling.thresholds?.[name], 0, Number.POSITIVE_INFINITY);
    super(
      async () => {
        const poller = (await import('./service.js')).makePoller(options);
        if (this.#paused) poller.pause();
        return poller;
      },
      options.events,
      (poller) => {
        if (this.#refreshed) poller.refresh();
      },
    );
  }

  stats(): PollingStats {
    return this.loaded?.stats ?? { ...NO_STATS, paused: this.#paused };
  }

  pause(): void {
    this.#paused = true;
    this.loaded?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.loaded?.resume();
  }

  refresh(): void {
    this.#refreshed = true;
    this.loaded?.refresh();
  }
}
