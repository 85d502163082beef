import { describe, expect, test } from '@jest/globals';
import { A, client, clock, environment, follow, gateway, given, live, poller, seen } from '../support/polling-world.js';

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
    given.token = () =>
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
    given.online = false;
    environment.hint();
    expect(client.state).toBe('waiting');
    await clock.turn(600_000);
    poller.refresh();
    await clock.turn(60_000);
    expect([gateway.requests.length, poller.stats.failures, clock.timers]).toEqual([0, 0, 0]);
    gateway.write(A, 'x');
    given.online = true;
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
