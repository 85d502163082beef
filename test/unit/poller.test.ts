import { beforeEach, describe, expect, test } from '@jest/globals';
import { Backoff } from '../../client/ground/backoff.js';
import { RowcastError } from '../../client/ground/error.js';
import { Poller, type PollerPhase } from '../../client/polling/poller.js';
import { stateOfExecution } from '../../client/progress/activity.js';
import type { SessionState } from '../../client/session/connection.js';
import { FakePolls } from '../support/fake-polls.js';
import { FakeClock, FakeEnvironment, settle } from '../support/fakes.js';

const INTERVAL = 2_000;
const TIMEOUT = 10_000;
const RETRY_AFTER = 700;

let clock: FakeClock;
let gateway: FakePolls;
let environment: FakeEnvironment;
let online: boolean;
let poller: Poller;
let states: SessionState[];

beforeEach(() => {
  clock = new FakeClock();
  gateway = new FakePolls();
  environment = new FakeEnvironment();
  online = true;
  states = [];
  poller = new Poller({
    settings: {
      interval: INTERVAL,
      running: 1_000,
      pending: 10_000,
      stateOf: stateOfExecution,
      timeout: TIMEOUT,
      breakerFailures: 3,
      breakerCooldown: 30_000,
      thresholds: { failureRate: 0.05, response: 5_000, recovery: 60_000 },
    },
    poll: gateway.poll,
    token: async () => undefined,
    clock,
    backoff: new Backoff({ base: 1_000, cap: 30_000 }, () => 1),
    environment,
    online: () => online,
    events: {
      onState: (state) => {
        states.push(state);
        if (state === 'connected') poller.request({ type: 'subscribe', channel: 'message:a' });
      },
      onFrame: () => {},
    },
  });
});

/** Leads a new poller to a phase. While it rests or requests it is connected, and follows a channel. */
const LEAD: Record<PollerPhase, () => Promise<void>> = {
  async idle() {},
  async resting() {
    poller.start();
    await clock.turn(0);
  },
  async requesting() {
    await LEAD.resting();
    gateway.health = 'hangs';
    await clock.turn(INTERVAL);
  },
  async closed() {
    await LEAD.resting();
    poller.close();
  },
};

type Event =
  | 'start'
  | 'a command'
  | 'the next request is due'
  | 'no response in time'
  | 'a retry hint'
  | 'a refusal for good'
  | 'pause'
  | 'resume'
  | 'refresh'
  | 'reconnect'
  | 'a network hint, late'
  | 'no network'
  | 'the page is left'
  | 'close';

/** The answer that the request under way gets, or the next one. */
async function answer(code: string, retryAfter?: number): Promise<void> {
  gateway.health = { error: new RowcastError(code), retryAfter };
  if (poller.phase === 'requesting') {
    poller.pause();
    poller.resume();
  }
  await clock.turn(INTERVAL);
}

const DO: Record<Event, () => void | Promise<void>> = {
  start: () => poller.start(),
  'a command': () => poller.request({ type: 'subscribe', channel: 'message:b' }),
  'the next request is due': async () => {
    gateway.health = 'hangs';
    await clock.turn(INTERVAL);
  },
  'no response in time': async () => {
    gateway.health = 'hangs';
    await clock.turn(poller.phase === 'requesting' ? TIMEOUT : INTERVAL + TIMEOUT);
  },
  'a retry hint': () => answer('rate_limited', RETRY_AFTER),
  'a refusal for good': () => answer('unauthorized'),
  pause: () => poller.pause(),
  resume: () => poller.resume(),
  refresh: () => poller.refresh(),
  reconnect: () => poller.reconnect(),
  'a network hint, late': async () => {
    await clock.turn(INTERVAL - 500);
    environment.hint();
  },
  'no network': () => {
    online = false;
    environment.hint();
  },
  'the page is left': () => environment.suspend(),
  close: () => poller.close(),
};

/** The phase that follows, with the state of the connection; `-`: no effect. What is missing here does not compile. */
const TABLE: Record<PollerPhase, Record<Event, `${PollerPhase} ${SessionState}` | '-'>> = {
  idle: {
    start: 'resting waiting',
    'a command': '-',
    'the next request is due': '-',
    'no response in time': '-',
    'a retry hint': '-',
    'a refusal for good': '-',
    pause: '-',
    resume: '-',
    refresh: '-',
    reconnect: 'resting waiting',
    'a network hint, late': '-',
    'no network': '-',
    'the page is left': '-',
    close: 'closed closed',
  },
  resting: {
    start: '-',
    'a command': '-',
    'the next request is due': 'requesting connected',
    'no response in time': 'resting waiting',
    'a retry hint': 'resting waiting',
    'a refusal for good': 'closed closed',
    pause: '-',
    resume: '-',
    refresh: '-',
    reconnect: '-',
    'a network hint, late': '-',
    'no network': 'resting waiting',
    'the page is left': '-',
    close: 'closed closed',
  },
  requesting: {
    start: '-',
    'a command': '-',
    'the next request is due': '-',
    'no response in time': 'resting waiting',
    'a retry hint': 'resting waiting',
    'a refusal for good': 'closed closed',
    pause: 'resting connected',
    resume: '-',
    refresh: '-',
    reconnect: '-',
    'a network hint, late': '-',
    'no network': 'resting waiting',
    'the page is left': 'resting connected',
    close: 'closed closed',
  },
  closed: {
    start: '-',
    'a command': '-',
    'the next request is due': '-',
    'no response in time': '-',
    'a retry hint': '-',
    'a refusal for good': '-',
    pause: '-',
    resume: '-',
    refresh: '-',
    reconnect: '-',
    'a network hint, late': '-',
    'no network': '-',
    'the page is left': '-',
    close: '-',
  },
};

const cases = Object.entries(TABLE).flatMap(([phase, row]) =>
  Object.entries(row).map(([event, outcome]) => [phase, event, outcome] as [PollerPhase, Event, string]),
);

describe('each phase and each event', () => {
  test.each(cases)('%s, %s: %s', async (phase, event, outcome) => {
    await LEAD[phase]();
    expect(poller.phase).toBe(phase);
    const before = `${poller.phase} ${poller.state}`;
    await DO[event]();
    expect(`${poller.phase} ${poller.state}`).toBe(outcome === '-' ? before : outcome);
    poller.close();
    await settle();
    expect([clock.timers, environment.watched, states.at(-1)]).toEqual([0, false, 'closed']);
  });
});

describe('what can be read about polling', () => {
  test('when a response last came, how long it took, and when the next attempt is due', async () => {
    expect([poller.heardAt, poller.roundTrip, poller.retryAt]).toEqual([null, null, null]);
    gateway.onRequest = () => new Promise((resolve) => void clock.after(40, resolve));
    poller.start();
    await clock.turn(80); // `connect`, and the channel
    expect([poller.heardAt, poller.roundTrip, poller.retryAt]).toEqual([clock.now(), 40, null]);
    gateway.health = 'fails';
    await clock.turn(INTERVAL + 40);
    expect([poller.state, poller.retryAt]).toEqual(['waiting', clock.now() + 1_000]);
    expect(poller.heardAt).toBe(clock.now() - INTERVAL - 40);
    await clock.turn(1_000);
    expect([poller.state, poller.retryAt]).toEqual(['connecting', null]);
    poller.close();
  });
});
