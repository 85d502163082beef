import { describe, expect, test } from '@jest/globals';
import {
  A,
  BASE,
  COOLDOWN,
  client,
  clock,
  follow,
  gateway,
  live,
  poller,
  RUN,
  seen,
  stats,
  warnings,
} from '../support/polling-world.js';

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
