import { Backoff } from '../ground/backoff.js';
import { systemClock } from '../ground/clock.js';
import type { Json } from '../ground/json.js';
import type { Fetch } from '../ground/platform.js';
import { stateOfExecution } from '../progress/activity.js';
import type { ConnectionEvents } from '../session/connection.js';
import { platformEnvironment } from '../session/environment.js';
import { pollOf } from './poll.js';
import { Poller } from './poller.js';
import { NO_STATS, type PollingOptions, type PollingSettings } from './settings.js';

/** Times in milliseconds. */
const DEFAULTS: PollingSettings = {
  interval: 2_000,
  running: 1_000,
  pending: 10_000,
  stateOf: stateOfExecution,
  timeout: 10_000,
  breakerFailures: 5,
  breakerCooldown: 30_000,
  thresholds: NO_STATS.thresholds,
};

/** The delays after failures, in milliseconds. */
const BACKOFF = { base: 1_000, cap: 30_000 };

export interface ServiceOptions {
  readonly url: string;
  readonly fetch: Fetch;
  readonly json: Json;
  readonly token: () => Promise<string | undefined>;
  readonly polling: PollingOptions;
  readonly events: ConnectionEvents;
}

/** Leaves out the options that are undefined, so that their defaults apply. */
function given<T extends object>(options: T | undefined): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(options ?? {}).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** A poller with the clock, the network and the network hints of this platform. */
export function makePoller({ url, fetch, json, token, polling, events }: ServiceOptions): Poller {
  return new Poller({
    settings: { ...DEFAULTS, ...given(polling), thresholds: { ...DEFAULTS.thresholds, ...given(polling.thresholds) } },
    poll: pollOf(url, fetch, json),
    token,
    clock: systemClock,
    backoff: new Backoff(BACKOFF),
    environment: platformEnvironment(systemClock),
    online: () => globalThis.navigator?.onLine !== false,
    events,
  });
}
