import type { PollingClient } from '../client.js';
import { NO_STATS, type PollingOptions, type PollingStats } from '../polling/settings.js';
import type { Warning } from '../polling/statistics.js';
import { Value } from './listeners.js';

export interface PollingState extends PollingStats {
  /** Whether it polls on an interval at present: after `only(['poll'])`. Else the controls have no effect. */
  readonly active: boolean;
  /** The latest warnings, the newest last. */
  readonly warnings: readonly Warning[];
}

export type PollingIntervals = Pick<PollingOptions, 'interval' | 'running' | 'pending'>;

const MAX_WARNINGS = 20;

/** Polling on an interval: how it is doing, and its controls. */
export class PollingStore extends Value<PollingState> {
  readonly #given: PollingOptions;
  readonly #again: () => void;
  #intervals: PollingIntervals = {};
  #client: PollingClient | null = null;

  /** `again`: makes another client, with the options of now. */
  constructor(given: PollingOptions, again: () => void) {
    super({ ...NO_STATS, active: false, warnings: [] });
    this.#given = given;
    this.#again = again;
  }

  /** Of the next client. */
  get options(): PollingOptions {
    const { onStats, onWarning } = this.#given;
    return {
      ...this.#given,
      ...this.#intervals,
      onStats: (stats) => {
        this.set({ ...this.get(), ...stats });
        onStats?.(stats);
      },
      onWarning: (warning) => {
        this.set({ ...this.get(), warnings: [...this.get().warnings, warning].slice(-MAX_WARNINGS) });
        onWarning?.(warning);
      },
    };
  }

  use(client: PollingClient | null): void {
    this.#client = client;
    this.set({ ...NO_STATS, active: client !== null, warnings: this.get().warnings });
  }

  readonly pause = (): void => this.#client?.pause();
  readonly resume = (): void => this.#client?.resume();
  /** Polls now. */
  readonly refresh = (): void => this.#client?.refresh();

  /** Polls on other intervals from now on. */
  readonly setIntervals = (intervals: PollingIntervals): void => {
    this.#intervals = { ...this.#intervals, ...intervals };
    if (this.#client !== null) this.#again();
  };
}
