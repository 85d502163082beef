import { Backoff } from '../ground/backoff.js';
import { systemClock } from '../ground/clock.js';
import type { SessionEvents } from '../session/connection.js';
import { platformEnvironment } from '../session/environment.js';
import type { Fetch } from '../transport/http.js';
import { stateOfExecution } from './channels.js';
import { exchangeWith } from './exchange.js';
import { Poller } from './poller.js';
import type { PollingOptions, PollingSettings } from './settings.js';

/** Times in milliseconds. */
const DEFAULTS: PollingSettings = {
  interval: 2_000,
  running: 1_000,
  pending: 10_000,
  stateOf: stateOfExecution,
  timeout: 10_000,
  breakerFailures: 5,
  breakerCooldown: 30_000,
  thresholds: { failureRate: 0.05, response: 5_000, recovery: 60_000 },
};

/** The delays after failures, in milliseconds. */
const BACKOFF = { base: 1_000, cap: 30_000 };

export interface ServiceOptions {
  readonly url: string;
  readonly fetch: Fetch;
  readonly token: () => Promise<string | undefined>;
  readonly polling: PollingOptions;
  readonly events: SessionEvents;
}

/** What is given as undefined is left out, so that it has its default. */
function given<T extends object>(options: T | undefined): Partial<T> {
  const entries = Object.entries(options ?? {}).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>;
}

/** The poller, with the clock, the network and the signs of this platform. */
export function makePoller({ url, fetch, token, polling, events }: ServiceOptions): Poller {
  return new Poller({
    settings: { ...DEFAULTS, ...given(polling), thresholds: { ...DEFAULTS.thresholds, ...given(polling.thresholds) } },
    exchange: exchangeWith(url, fetch),
    token,
    clock: systemClock,
    backoff: new Backoff(BACKOFF),
    environment: platformEnvironment(systemClock),
    online: () => globalThis.navigator?.onLine !== false,
    events,
  });
}
