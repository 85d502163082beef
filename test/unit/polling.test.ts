import { beforeEach, describe, expect, test } from '@jest/globals';
import { type Client, clientOver } from '../../client/client.js';
import { Backoff } from '../../client/ground/backoff.js';
import { RowcastError } from '../../client/ground/error.js';
import { Poller } from '../../client/polling/poller.js';
import type { PollingStats } from '../../client/polling/settings.js';
import type { Warning } from '../../client/polling/statistics.js';
import { stateOfExecution } from '../../client/progress/activity.js';
import type { SessionState } from '../../client/session/connection.js';
import { FakePolls } from '../support/fake-polls.js';
import { FakeClock, FakeEnvironment } from '../support/fakes.js';

const TIMEOUT = 10_000;
const COOLDOWN = 30_000;
const BASE = 1_000;
const SETTINGS = {
  interval: 2_000,
  running: 1_000,
  pending: 10_000,
  stateOf: stateOfExecution,
  timeout: TIMEOUT,
  breakerFailures: 3,
  breakerCooldown: COOLDOWN,
  thresholds: { failureRate: 0.05, response: 5_000, recovery: 60_000 },
};
const A = 'message:a';
const RUN = 'execution:r';

let clock: FakeClock;
let gateway: FakePolls;
let environment: FakeEnvironment;
let online: boolean;
let random: () => number;
let token: () => Promise<string | undefined>;
let poller: Poller;
let client: Client;
let states: SessionState[];
let onState: (state: SessionState) => void;
let errorsSeen: (string | undefined)[];
let stats: PollingStats[];
let warnings: Warning[];
let seen: string[];

beforeEach(() => {
  clock = new FakeClock();
  gateway = new FakePolls();
  environment = new FakeEnvironment();
  online = true;
  random = () => 1; // always the longest delay
  token = async () => undefined;
  states = [];
  onState = () => {};
  errorsSeen = [];
  stats = [];
  warnings = [];
  seen = [];
  client = clientOver(
    (events) => {
      poller = new Poller({
        settings: { ...SETTINGS, onStats: (now) => stats.push(now), onWarning: (warning) => warnings.push(warning) },
        poll: gateway.poll,
        token: () => token(),
        clock,
        backoff: new Backoff({ base: BASE, cap: 30_000 }, () => random()),
        environment,
        online: () => online,
        events,
      });
      return poller;
    },
    (state, error) => {
      states.push(state);
      errorsSeen.push(error?.code);
      onState(state);
    },
  );
});

function follow(channel: string, since = 'start') {
  return client.subscribe(channel, { since, onEvent: ({ seq }) => seen.push(`${channel} ${seq}`) });
}

/** A client that has read its channels and waits for the next turn. */
async function live(...channels: string[]): Promise<void> {
  for (const channel of channels) follow(channel);
  await clock.turn(0);
  gateway.requests.length = 0;
}

describe('asking', () => {
  test('I1, I3: events come once and in order, each in the answer after it was written', async () => {
    gateway.write(A, 'x', 'x');
    await live(A);
    expect(seen).toEqual([`${A} 1`, `${A} 2`]);
    gateway.write(A, 'x');
    await clock.turn(1_999);
    expect(seen).toHaveLength(2);
    await clock.turn(1);
    await clock.turn(10_000);
    expect(seen).toEqual([1, 2, 3].map((seq) => `${A} ${seq}`));
    expect(client).toMatchObject({ state: 'connected', transport: 'poll' });
  });

  test('all channels are in one request, and one request is out at a time', async () => {
    const channels = Array.from({ length: 50 }, (_, index) => `message:${index}`);
    for (const channel of channels) follow(channel);
    await clock.turn(0);
    expect(gateway.requests).toHaveLength(2); // connect, and then all that was asked for in one turn
    expect(gateway.asked()).toEqual(channels);
    await clock.turn(10 * 2_000);
    expect(gateway.requests).toHaveLength(12);
    expect(gateway.most).toBe(1);
  });

  test('a subscribe is asked for at once, and with a request that is out right after it', async () => {
    await live(A);
    await clock.turn(500);
    follow('message:b');
    await clock.turn(0);
    expect(gateway.asked()).toEqual([A, 'message:b']);
    gateway.onRequest = () => {
      gateway.onRequest = () => {};
      follow('message:c');
    };
    await clock.turn(2_000);
    expect(gateway.requests).toHaveLength(3);
    expect(gateway.asked()).toEqual([A, 'message:b', 'message:c']);
  });

  test('what is full is followed at once, until everything was read', async () => {
    gateway.pageRows = 10;
    gateway.write(A, ...Array<string>(95).fill('x'));
    await live(A);
    expect(seen).toHaveLength(95);
    expect(client.state).toBe('connected');
    await clock.turn(1_999);
    expect(gateway.requests).toHaveLength(0);
  });

  test('an answer that owes something but brought nothing is followed in its turn only', async () => {
    await live(A);
    gateway.write(A, 'x');
    gateway.pageRows = 0;
    await clock.turn(3 * 2_000);
    expect(gateway.requests).toHaveLength(3);
  });

  test('with nothing followed nothing is asked', async () => {
    const subscription = follow(A);
    await clock.turn(0);
    subscription.close();
    gateway.requests.length = 0;
    await clock.turn(60_000);
    expect(gateway.requests).toHaveLength(0);
    expect(poller.stats.interval).toBeNull();
    await live(A);
    await clock.turn(2_000);
    expect(gateway.asked()).toEqual([A]);
  });

  test('a channel that is refused for good closes its subscription and is asked for no more', async () => {
    const refused = follow('unknown:x');
    await live(A);
    expect([refused.state, client.state]).toEqual(['closed', 'connected']);
    await clock.turn(2_000);
    expect(gateway.asked()).toEqual([A]);
  });
});

describe('the state of an execution', () => {
  test('slow while it is pending, fast while it runs, and no more when it is finished', async () => {
    await live(RUN);
    expect(poller.stats.interval).toBe(10_000);
    gateway.write(RUN, 'execution-started');
    await clock.turn(10_000);
    expect(poller.stats.interval).toBe(1_000);
    gateway.write(RUN, 'log', 'execution-completed');
    await clock.turn(1_000);
    expect([poller.stats.interval, seen.length, clock.timers]).toEqual([null, 3, 0]);
    gateway.requests.length = 0;
    await clock.turn(600_000);
    expect(gateway.requests).toHaveLength(0);
  });

  test('a finished channel is left out of the requests of others, until refresh', async () => {
    gateway.write(RUN, 'execution-failed');
    await live(RUN, A);
    await clock.turn(2_000);
    expect(gateway.asked()).toEqual([A]);
    gateway.write(RUN, 'execution-started');
    poller.refresh();
    await clock.turn(0);
    expect(gateway.asked()).toEqual([A, RUN]); // who was served goes last
    expect([seen.at(-1), poller.stats.interval]).toEqual([`${RUN} 2`, 1_000]);
  });

  test('a subscribe to another channel asks at once when all that is followed is finished', async () => {
    gateway.write(RUN, 'execution-completed');
    await live(RUN);
    await clock.turn(60_000);
    follow(A);
    await clock.turn(0);
    expect(gateway.asked()).toEqual([A]);
  });

  test('a finished channel that is left and followed anew is asked for', async () => {
    gateway.write(RUN, 'execution-completed');
    const first = client.subscribe(RUN, { since: 'start' });
    await clock.turn(60_000);
    first.close();
    follow(RUN);
    await clock.turn(0);
    expect(seen).toEqual([`${RUN} 1`]);
  });

  test('what is finished is read to its end, and stays finished after a failure', async () => {
    gateway.pageRows = 1;
    gateway.write(RUN, 'execution-completed', 'metrics-update', 'metrics-update');
    await live(RUN, A);
    expect(seen).toHaveLength(3);
    gateway.health = 'fails';
    await clock.turn(2_000);
    gateway.health = 'works';
    await clock.turn(30_000);
    expect(gateway.asked()).toEqual([A]);
  });
});

describe('failures', () => {
  /** When requests began, in milliseconds from now on, while time passes. */
  async function begun(time: number): Promise<number[]> {
    const start = clock.now();
    const times: number[] = [];
    gateway.onRequest = () => void times.push(clock.now() - start);
    await clock.turn(time);
    gateway.onRequest = () => {};
    return times;
  }

  test('the subscriptions wait from a failure on, and go on at their positions', async () => {
    gateway.write(A, 'x');
    await live(A);
    gateway.health = 'fails';
    await clock.turn(2_000);
    expect([states.at(-1), errorsSeen.at(-1)]).toEqual(['waiting', 'unavailable']);
    gateway.write(A, 'x');
    gateway.health = 'works';
    await clock.turn(BASE);
    expect(states.slice(-2)).toEqual(['connecting', 'connected']);
    expect(seen).toEqual([`${A} 1`, `${A} 2`]);
  });

  test('the delay is drawn at random below a limit that doubles, and begins anew after an answer', async () => {
    await live(A);
    gateway.health = 'fails';
    const draws = [0.5, 0.25];
    random = () => draws.shift() ?? 1;
    expect(await begun(3_000)).toEqual([2_000, 2_500, 3_000]);
    gateway.health = 'works';
    await clock.turn(COOLDOWN + BASE);
    gateway.health = 'fails';
    expect(await begun(2_000 + 1_000)).toEqual([2_000, 3_000]);
  });

  test('three failures in a row open the breaker; a trial that fails opens it again, one that works closes it', async () => {
    await live(A);
    gateway.health = 'fails';
    const [opened, trial] = [2_000 + 1_000 + 2_000, COOLDOWN + BASE];
    expect(await begun(opened)).toEqual([2_000, 3_000, 5_000]);
    expect(poller.stats).toMatchObject({ breaker: 'open', interval: trial });
    stats.length = 0;
    expect(await begun(trial)).toEqual([trial]);
    expect(stats.map(({ breaker }) => breaker)).toEqual(['half-open', 'open']);
    gateway.health = 'works';
    expect((await begun(trial)).length).toBe(2);
    expect(stats.map(({ breaker }) => breaker)).toEqual(['half-open', 'open', 'half-open', 'half-open', 'closed']);
    expect([client.state, poller.stats.recovery]).toEqual(['connected', 3_000 + 2 * trial]);
  });

  test('a gateway without its database fails the polls, though it answers connect', async () => {
    await live(A);
    gateway.health = 'no database';
    await clock.turn(2_000 + 1_000 + 2_000);
    expect([client.state, poller.stats.breaker, errorsSeen.at(-1)]).toEqual(['waiting', 'open', 'unavailable']);
    await clock.turn(COOLDOWN + BASE);
    expect(poller.stats).toMatchObject({ breaker: 'open', failures: 4, recovery: 3_000 + COOLDOWN + BASE });
    gateway.health = 'works';
    gateway.write(A, 'x');
    await clock.turn(COOLDOWN + BASE);
    expect([client.state, poller.stats.breaker, seen]).toEqual(['connected', 'closed', [`${A} 1`]]);
  });

  test('a request without an answer is ended after its time, and has failed', async () => {
    await live(A);
    gateway.health = 'hangs';
    await clock.turn(2_000 + TIMEOUT - 1);
    expect([client.state, gateway.aborted.length]).toEqual(['connected', 0]);
    await clock.turn(1);
    expect([client.state, gateway.aborted.length, poller.stats.failures]).toEqual(['waiting', 1, 1]);
  });

  test('a token that cannot be had, or does not come, is a failure, and is asked for again', async () => {
    const tokens = [Promise.reject(new Error('no')), new Promise<never>(() => {}), Promise.resolve('t')];
    token = () => tokens.shift() ?? Promise.reject(new Error('asked too often'));
    follow(A);
    await clock.turn(BASE + TIMEOUT + 2 * BASE);
    expect(client.state).toBe('connected');
    expect(gateway.requests[0]).toMatchObject([{ type: 'connect', token: 't' }]);
    expect(gateway.requests[1]).toMatchObject([{ type: 'connect', token: 't' }, { type: 'subscribe' }]);
  });

  test('a gateway that says when to come back is asked then, and nothing has failed', async () => {
    await live(A);
    gateway.health = { error: new RowcastError('rate_limited'), retryAfter: 5_000 };
    expect(await begun(2_000 + 4 * (5_000 + BASE))).toEqual([2_000, 8_000, 14_000, 20_000, 26_000]);
    expect(errorsSeen.at(-1)).toBe('rate_limited');
    poller.refresh();
    environment.hint();
    expect(await begun(4_999)).toEqual([]);
    expect(poller.stats).toMatchObject({ failures: 0, breaker: 'closed', successRate: 1 });
    gateway.health = 'works';
    await clock.turn(5_000);
    expect(client.state).toBe('connected');
  });

  test.each(['unauthorized', 'unsupported_protocol', 'not_found', 'forbidden_origin'])(
    '%s ends the client',
    async (code) => {
      await live(A);
      gateway.health = { error: new RowcastError(code), retryAfter: undefined };
      await clock.turn(2_000);
      expect([client.state, errorsSeen.at(-1), clock.timers, environment.watched]).toEqual(['closed', code, 0, false]);
      expect(() => follow('message:b')).toThrow('closed');
    },
  );

  test('a gateway that cannot tell whose token it is has failed, and no channel has ended', async () => {
    gateway.write(A, 'x');
    await live(A);
    gateway.health = 'cannot tell';
    await clock.turn(2_000);
    expect([client.state, errorsSeen.at(-1)]).toEqual(['waiting', 'unavailable']);
    gateway.health = 'works';
    gateway.write(A, 'x');
    await clock.turn(BASE);
    expect(seen).toEqual([`${A} 1`, `${A} 2`]);
  });

  describe('a token that has expired', () => {
    const expired = { error: new RowcastError('token_expired'), retryAfter: undefined };
    let asked: number;

    beforeEach(() => {
      asked = 0;
      token = async () => `token ${++asked}`;
    });

    test('is no failure: the request is made again at once, with a fresh one', async () => {
      await live(A);
      gateway.write(A, 'x');
      gateway.onRequest = () => {
        gateway.health = asked === 1 ? expired : 'works';
      };
      await clock.turn(2_000);
      const said = [{ type: 'connect', token: 'token 2' }, { channel: A, since: 'e1.0' }, { type: 'refresh' }];
      expect(gateway.requests.at(-1)).toMatchObject(said);
      await clock.turn(2_000);
      expect([seen, states, poller.stats.failures]).toEqual([[`${A} 1`], ['connecting', 'connected'], 0]);
      expect(asked).toBe(2);
    });

    test('twice in a row is one, and is told', async () => {
      await live(A);
      gateway.health = expired;
      await clock.turn(2_000);
      expect([client.state, errorsSeen.at(-1), asked]).toEqual(['waiting', 'token_expired', 2]);
      const failures = poller.stats.failures;
      await clock.turn(60_000);
      expect(failures).toBe(1);
      expect(asked).toBeLessThan(10); // fewer and fewer, and the breaker
      gateway.health = 'works';
      await clock.turn(COOLDOWN);
      expect(client.state).toBe('connected');
    });
  });

  test.each(['internal', 'shutting_down', 'of a newer gateway'])(
    '%s is tried again, with a new token',
    async (code) => {
      let asked = 0;
      token = async () => `token ${++asked}`;
      await live(A);
      gateway.health = { error: new RowcastError(code), retryAfter: undefined };
      await clock.turn(2_000);
      gateway.health = 'works';
      await clock.turn(BASE);
      expect(client.state).toBe('connected');
      expect(gateway.requests.at(-1)).toMatchObject([{ token: 'token 2' }, { channel: A }]);
    },
  );
});

describe('pause, resume and refresh', () => {
  test('paused, nothing is asked; resumed, at once', async () => {
    await live(A);
    client.subscribe('message:b', { since: 'start' });
    poller.pause();
    await clock.turn(60_000);
    expect([gateway.requests.length, poller.stats.paused, poller.stats.interval, clock.timers]).toEqual([
      0,
      true,
      null,
      0,
    ]);
    poller.resume();
    await clock.turn(0);
    expect(gateway.asked()).toEqual([A, 'message:b']);
    expect(poller.stats).toMatchObject({ paused: false, interval: 2_000 });
  });

  test('a request that is out when it is paused is given up, and made again', async () => {
    gateway.write(A, 'x');
    gateway.health = 'hangs';
    follow(A);
    await clock.turn(0);
    poller.pause();
    await clock.turn(0);
    expect([gateway.aborted.length, client.state, clock.timers]).toEqual([1, 'waiting', 0]);
    gateway.health = 'works';
    poller.resume();
    await clock.turn(1_000);
    expect([seen, poller.stats.failures]).toEqual([[`${A} 1`], 0]);
  });

  test('I2: a listener that pauses in the middle of an answer loses nothing of it', async () => {
    gateway.write('message:b', 'x');
    gateway.write(A, 'x');
    client.subscribe('message:b', { since: 'start', onEvent: () => poller.pause() });
    follow(A);
    await clock.turn(60_000);
    expect(seen).toEqual([]);
    poller.resume();
    await clock.turn(0);
    expect(seen).toEqual([`${A} 1`]);
  });

  test('refresh asks now, and once where it is paused, up to the end', async () => {
    await live(A);
    await clock.turn(500);
    gateway.write(A, 'x');
    poller.refresh();
    await clock.turn(0);
    expect(seen).toHaveLength(1);
    poller.pause();
    gateway.pageRows = 1;
    gateway.write(A, 'x', 'x');
    poller.refresh();
    await clock.turn(60_000);
    expect(seen).toHaveLength(3);
    expect(gateway.requests).toHaveLength(3);
  });

  test('paused before it ever connected, refresh brings what there is', async () => {
    gateway.write(A, 'x');
    poller.pause();
    follow(A);
    await clock.turn(60_000);
    expect(gateway.requests).toHaveLength(0);
    poller.refresh();
    await clock.turn(60_000);
    expect([seen, gateway.requests.length]).toEqual([[`${A} 1`], 2]);
  });

  test('a token that comes when nobody waits for it any more is not used', async () => {
    let come = (_: string) => {};
    token = () =>
      new Promise((resolve) => {
        come = resolve;
      });
    follow(A);
    await clock.turn(0);
    poller.pause();
    come('late');
    await clock.turn(60_000);
    expect(gateway.requests).toHaveLength(0);
  });

  test('refresh during a request is followed by another one: what is out may have been too early', async () => {
    await live(A);
    gateway.onRequest = () => {
      gateway.onRequest = () => {};
      poller.refresh();
      poller.refresh();
    };
    await clock.turn(2_000);
    expect(gateway.requests).toHaveLength(2);
  });

  test('refresh is the trial of an open breaker, once a second at most', async () => {
    await live(A);
    gateway.health = 'fails';
    await clock.turn(5_000);
    expect(poller.stats.breaker).toBe('open');
    gateway.requests.length = 0;
    for (let click = 0; click < 30; click += 1) {
      poller.refresh();
      await clock.turn(100);
    }
    expect(gateway.requests).toHaveLength(3);
  });
});

describe('the network and the page', () => {
  test('offline nothing is asked and nothing fails; online it is asked at once', async () => {
    await live(A);
    online = false;
    environment.hint();
    expect(client.state).toBe('waiting');
    await clock.turn(600_000);
    poller.refresh();
    await clock.turn(60_000);
    expect([gateway.requests.length, poller.stats.failures, clock.timers]).toEqual([0, 0, 0]);
    gateway.write(A, 'x');
    online = true;
    environment.hint();
    await clock.turn(0);
    expect([client.state, seen.length, poller.stats.failures]).toEqual(['connected', 1, 0]);
  });

  test('a page that is looked at again asks at once, though not for each of several signs', async () => {
    await live(A);
    await clock.turn(1_500);
    for (let sign = 0; sign < 5; sign += 1) {
      environment.hint();
      await clock.turn(100);
    }
    expect(gateway.requests).toHaveLength(1);
  });

  test('a sign cuts the delay of a failure short', async () => {
    await live(A);
    gateway.health = 'fails';
    await clock.turn(5_000);
    gateway.health = 'works';
    await clock.turn(3_000);
    environment.hint();
    await clock.turn(0);
    expect([client.state, poller.stats.breaker]).toEqual(['connected', 'closed']);
  });

  test('a sign makes a slow request anew, and leaves a young one alone', async () => {
    await live(A);
    gateway.health = 'hangs';
    await clock.turn(2_000);
    environment.hint();
    await clock.turn(2_999);
    expect(gateway.requests).toHaveLength(1);
    await clock.turn(1);
    gateway.health = 'works';
    environment.hint();
    await clock.turn(0);
    expect([gateway.requests.length, gateway.aborted.length, poller.stats.failures]).toEqual([2, 1, 0]);
  });
});

describe('stats', () => {
  test('each request is told, with its time', async () => {
    await live(A);
    stats.length = 0;
    gateway.onRequest = () => new Promise((resolve) => void clock.after(300, resolve));
    await clock.turn(2_300);
    expect(stats).toEqual([poller.stats]);
    expect(poller.stats).toMatchObject({ requests: 3, meanResponse: 100, p95Response: 300, interval: 2_000 });
  });

  test('an outage is told as a warning while it lasts', async () => {
    await live(A);
    gateway.health = 'fails';
    await clock.turn(5_000 + 3 * (COOLDOWN + BASE));
    expect(warnings.map(({ kind }) => kind)).toEqual(['recovery']);
    expect(warnings[0]?.value).toBeGreaterThan(60_000);
  });

  test('slow answers are told as a warning', async () => {
    await live(A);
    gateway.onRequest = () => new Promise((resolve) => void clock.after(9_000, resolve));
    await clock.turn(20 * 11_000);
    expect(warnings.map(({ kind }) => kind)).toEqual(['response']);
  });
});

describe('I7: after close nothing is left', () => {
  async function expectNothingLeft(): Promise<void> {
    client.close();
    const before = [stats.length, gateway.requests.length, states.length];
    expect([states.at(-1), clock.timers, environment.watched]).toEqual(['closed', 0, false]);
    poller.refresh();
    poller.pause();
    poller.resume();
    await clock.turn(600_000);
    client.close();
    expect([stats.length, gateway.requests.length, states.length]).toEqual(before);
    expect(clock.timers).toBe(0);
  }

  test.each<[string, () => void | Promise<void>]>([
    ['before it was started', () => {}],
    ['while the token is asked for', () => void follow(A)],
    ['between requests', () => live(A)],
    [
      'while a request is out',
      async () => {
        await live(A);
        gateway.health = 'hangs';
        await clock.turn(2_000);
      },
    ],
    [
      'while it waits after a failure',
      async () => {
        await live(A);
        gateway.health = 'fails';
        await clock.turn(2_000);
      },
    ],
    [
      'while it is paused',
      async () => {
        await live(A);
        poller.pause();
      },
    ],
    [
      'while there is no network',
      async () => {
        await live(A);
        online = false;
        environment.hint();
      },
    ],
  ])('closed %s', async (_, prepare) => {
    await prepare();
    await expectNothingLeft();
    if (gateway.health === 'hangs') expect(gateway.aborted).toHaveLength(1);
  });

  test.each(['connecting', 'connected', 'waiting'] as const)('closed by the listener that hears %s', async (state) => {
    let told = 0;
    onState = (entered) => {
      if (entered !== state) return;
      client.close();
      told = stats.length;
    };
    follow(A);
    await clock.turn(0);
    gateway.health = 'fails';
    await clock.turn(2_000);
    expect(stats).toHaveLength(told);
    await expectNothingLeft();
  });

  test('closed by the listener that gets an event', async () => {
    gateway.write(A, 'x');
    client.subscribe(A, { since: 'start', onEvent: () => client.close() });
    await clock.turn(0);
    await expectNothingLeft();
  });
});
