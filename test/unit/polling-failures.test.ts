import { beforeEach, describe, expect, test } from '@jest/globals';
import { RowcastError } from '../../client/ground/error.js';
import {
  A,
  BASE,
  COOLDOWN,
  client,
  clock,
  environment,
  errorsSeen,
  follow,
  gateway,
  given,
  live,
  poller,
  seen,
  states,
  stats,
  TIMEOUT,
} from '../support/polling-world.js';

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
    given.random = () => draws.shift() ?? 1;
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
    given.token = () => tokens.shift() ?? Promise.reject(new Error('asked too often'));
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
      given.token = async () => `token ${++asked}`;
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
      given.token = async () => `token ${++asked}`;
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
