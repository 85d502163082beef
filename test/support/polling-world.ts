import { beforeEach } from '@jest/globals';
import { type Client, clientOver } from '../../client/client.js';
import { Backoff } from '../../client/ground/backoff.js';
import { Poller } from '../../client/polling/poller.js';
import type { PollingStats } from '../../client/polling/settings.js';
import type { Warning } from '../../client/polling/statistics.js';
import { stateOfExecution } from '../../client/progress/activity.js';
import type { SessionState } from '../../client/session/connection.js';
import { FakePolls } from '../support/fake-polls.js';
import { FakeClock, FakeEnvironment } from '../support/fakes.js';

/** A polling client of a fake gateway. */

export const TIMEOUT = 10_000;
export const COOLDOWN = 30_000;
export const BASE = 1_000;
export const SETTINGS = {
  interval: 2_000,
  running: 1_000,
  pending: 10_000,
  stateOf: stateOfExecution,
  timeout: TIMEOUT,
  breakerFailures: 3,
  breakerCooldown: COOLDOWN,
  thresholds: { failureRate: 0.05, response: 5_000, recovery: 60_000 },
};
export const A = 'message:a';
export const RUN = 'execution:r';

/** What a test may change before, or while, it runs. */
export const given = {
  online: true,
  random: (): number => 1,
  token: (): Promise<string | undefined> => Promise.resolve(undefined),
  onState: (_state: SessionState): void => {},
};
export let clock: FakeClock;
export let gateway: FakePolls;
export let environment: FakeEnvironment;
export let poller: Poller;
export let client: Client;
export let states: SessionState[];
export let errorsSeen: (string | undefined)[];
export let stats: PollingStats[];
export let warnings: Warning[];
export let seen: string[];

beforeEach(() => {
  clock = new FakeClock();
  gateway = new FakePolls();
  environment = new FakeEnvironment();
  given.online = true;
  given.random = () => 1; // always the longest delay
  given.token = async () => undefined;
  states = [];
  given.onState = () => {};
  errorsSeen = [];
  stats = [];
  warnings = [];
  seen = [];
  client = clientOver(
    (events) => {
      poller = new Poller({
        settings: { ...SETTINGS, onStats: (now) => stats.push(now), onWarning: (warning) => warnings.push(warning) },
        poll: gateway.poll,
        token: () => given.token(),
        clock,
        backoff: new Backoff({ base: BASE, cap: 30_000 }, () => given.random()),
        environment,
        online: () => given.online,
        events,
      });
      return poller;
    },
    (state, error) => {
      states.push(state);
      errorsSeen.push(error?.code);
      given.onState(state);
    },
  );
});

export function follow(channel: string, since = 'start') {
  return client.subscribe(channel, { since, onEvent: ({ seq }) => seen.push(`${channel} ${seq}`) });
}

/** A client that has read its channels and waits for the next turn. */
export async function live(...channels: string[]): Promise<void> {
  for (const channel of channels) follow(channel);
  await clock.turn(0);
  gateway.requests.length = 0;
}
