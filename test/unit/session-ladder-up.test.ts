import { beforeEach, describe, expect, test } from '@jest/globals';
import { settle } from '../support/fakes.js';
import {
  clock,
  counts,
  environment,
  fail,
  given,
  greet,
  pass,
  poll,
  session,
  sse,
  start,
  states,
  TRIAL,
  websocket,
} from '../support/ladder-world.js';

describe('up', () => {
  beforeEach(() => {
    given.remembered = 'poll';
  });

  test('the better rungs are tried after 2 seconds, beside the connection, and the first that stands takes over', async () => {
    await start();
    await greet(poll);
    await pass(TRIAL - 1, poll.last);
    expect(counts()).toEqual([0, 0, 1]);
    await clock.turn(1);
    expect(counts()).toEqual([1, 0, 1]);
    websocket.last.events.onOpen();
    expect([session.transport, poll.last.closed]).toEqual(['poll', false]);
    await greet(websocket);
    expect([session.transport, poll.last.closed, given.remembered]).toEqual(['websocket', true, 'websocket']);
    expect(states).toEqual(['connecting', 'connected poll', 'connected websocket']);
    expect(websocket.last.sent[0]).toMatchObject({ type: 'connect', token: 'token 2' });
    session.request({ type: 'ping' });
    expect(websocket.last.sent.at(-1)).toMatchObject({ type: 'ping' });
    await pass(3_600_000, websocket.last);
    expect(counts()).toEqual([1, 0, 1]);
    expect(clock.timers).toBe(1); // that of the heartbeat: nothing better is looked for
  });

  test.each([
    [0, 1_500],
    [1, 2_500],
  ])('clients that went down together do not come up together: drawn %f, after %i ms', async (drawn, delay) => {
    given.random = drawn;
    await start();
    await greet(poll);
    await pass(delay - 1, poll.last);
    expect(counts()).toEqual([0, 0, 1]);
    await clock.turn(1);
    expect(counts()).toEqual([1, 0, 1]);
  });

  test('a trial that fails changes nothing; the next comes after twice the time, at most 10 minutes', async () => {
    await start();
    await greet(poll);
    for (const delay of [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]) {
      const [tried = 0] = counts();
      await pass(delay * 1_000 - 1, poll.last);
      expect(counts()[0]).toBe(tried);
      await clock.turn(1);
      expect(counts()[0]).toBe(tried + 1);
      await fail(websocket, tried % 2 === 0 ? 1006 : 4501);
      await fail(sse);
    }
    expect(states).toEqual(['connecting', 'connected poll']);
    expect([poll.links.length, poll.last.closed]).toEqual([1, false]);
  });

  test('a stream takes over only when it is known not to be held back', async () => {
    await start();
    await greet(poll);
    await pass(TRIAL, poll.last);
    await fail(websocket);
    await greet(sse);
    await clock.turn(3_999);
    expect(session.transport).toBe('poll');
    await clock.turn(1);
    expect([session.transport, sse.last.closed]).toEqual(['poll', true]);
    await pass(2 * TRIAL, poll.last);
    await fail(websocket);
    await greet(sse);
    sse.last.events.onHeard();
    expect([session.transport, poll.last.closed]).toEqual(['sse', true]);
  });

  test('a stream on trial brings a fresh token when it has to, and takes over', async () => {
    await start();
    await greet(poll);
    await pass(TRIAL, poll.last);
    await fail(websocket);
    await greet(sse);
    sse.last.receive(JSON.stringify({ type: 'paused', code: 'token_expired' }));
    await settle();
    expect(sse.last.sent.at(-1)).toMatchObject({ type: 'refresh', token: 'token 4' });
    expect(session.transport).toBe('poll');
    sse.last.receive(JSON.stringify({ type: 'refreshed', id: sse.last.sent.at(-1)?.id }));
    sse.last.events.onHeard();
    expect([session.transport, poll.last.closed]).toEqual(['sse', true]);
  });

  test('a rung that is in a pause is left for a better one that stands', async () => {
    await start();
    await greet(poll);
    await pass(TRIAL, poll.last);
    poll.last.receive(JSON.stringify({ type: 'paused', code: 'token_expired' }));
    await settle();
    expect(poll.last.sent.at(-1)).toMatchObject({ type: 'refresh' });
    await greet(websocket);
    expect([session.transport, poll.last.closed]).toEqual(['websocket', true]);
  });

  test('a sign brings the trial soon, and the delays begin anew', async () => {
    await start();
    await greet(poll);
    await pass(TRIAL, poll.last);
    await fail(websocket);
    await fail(sse);
    await pass(2 * TRIAL, poll.last);
    await fail(websocket);
    await fail(sse);
    environment.hint();
    poll.last.events.onHeard();
    await clock.turn(TRIAL);
    expect(counts()).toEqual([3, 2, 1]);
    await fail(websocket);
    await fail(sse);
    await pass(2 * TRIAL, poll.last);
    expect(counts()).toEqual([4, 3, 1]);
  });

  /** The best rung is connected, and breaks after so many milliseconds until it is left; then the last one carries. */
  async function goDown(lived: number): Promise<void> {
    while (session.transport !== 'poll') {
      if (session.state === 'waiting') await clock.turn(8_000);
      if (sse.links.some(({ closed }) => !closed)) await fail(sse);
      else if (poll.links.some(({ closed }) => !closed)) await greet(poll);
      else {
        await greet(websocket);
        await pass(lived, websocket.last);
        await fail(websocket);
      }
    }
  }

  /** How long it takes until the best rung is tried, in milliseconds. */
  async function untilTrial(): Promise<number> {
    const [tried = 0] = counts();
    const began = clock.now();
    while (counts()[0] === tried) await pass(1_000, poll.last);
    return clock.now() - began;
  }

  test('a best rung that keeps breaking is tried less and less; one that was good is tried soon', async () => {
    given.remembered = null;
    await start();
    const delays: number[] = [];
    for (let time = 0; time < 4; time += 1) {
      await goDown(1_000);
      delays.push(await untilTrial());
      await greet(websocket);
    }
    expect(delays).toEqual([2_000, 4_000, 8_000, 16_000]);
    await pass(5_000, websocket.last);
    await fail(websocket);
    await clock.turn(8_000);
    await goDown(1_000);
    expect(await untilTrial()).toBe(2_000);
  });

  test('a gateway that says when to come back is not asked before, by no rung', async () => {
    await start();
    await greet(poll);
    await pass(TRIAL, poll.last);
    websocket.last.events.onOpen();
    websocket.last.receive(JSON.stringify({ type: 'error', code: 'rate_limited', message: '', retryAfter: 60_000 }));
    await fail(websocket, 4006);
    await pass(59_999, poll.last);
    expect(counts()).toEqual([1, 0, 1]);
    await clock.turn(1);
    expect(counts()).toEqual([2, 0, 1]);
  });

  test('a retry hint is no failure: it is followed each time, and does not lengthen the delays', async () => {
    await start();
    await greet(poll);
    await pass(TRIAL, poll.last);
    for (const [at, hint] of [5_000, 5_000, 1, 5_000].entries()) {
      websocket.last.events.onOpen();
      websocket.last.receive(JSON.stringify({ type: 'error', code: 'rate_limited', message: '', retryAfter: hint }));
      await fail(websocket, 4006);
      const delay = Math.max(hint, TRIAL);
      await pass(delay - 1, poll.last);
      expect(counts()).toEqual([at + 1, 0, 1]);
      await clock.turn(1);
      expect(counts()).toEqual([at + 2, 0, 1]);
    }
    await fail(websocket);
    await pass(1, poll.last);
    await fail(sse);
    expect(await untilTrial()).toBe(2 * TRIAL); // as after a first failure
  });

  test('signs that do not end do not keep it on a rung that stood and now hangs', async () => {
    given.remembered = null;
    await start();
    await greet(websocket);
    await fail(websocket);
    for (let sign = 0; sign < 4; sign += 1) {
      await clock.turn(5_000);
      environment.hint();
    }
    await settle();
    expect(counts()[1]).toBeGreaterThan(0);
  });

  test('signs that do not end do not put the trial off', async () => {
    await start();
    await greet(poll);
    for (let sign = 0; sign < 3; sign += 1) {
      environment.hint();
      poll.last.events.onHeard();
      await clock.turn(1_000);
    }
    expect(counts()).toEqual([1, 0, 1]);
  });

  test('a trial goes on while the connection is lost, and takes over', async () => {
    await start();
    await greet(poll);
    await pass(TRIAL, poll.last);
    await fail(poll);
    expect(session.state).toBe('waiting');
    await greet(websocket);
    expect(session.transport).toBe('websocket');
    await clock.turn(10_000);
    expect(poll.links).toHaveLength(1);
  });

  test('what the link that was left still says is not heard', async () => {
    await start();
    await greet(poll);
    await pass(TRIAL, poll.last);
    await greet(websocket);
    await fail(poll, 4501);
    expect([session.state, session.transport]).toEqual(['connected', 'websocket']);
  });

  test.each(['while it waits', 'while it opens', 'before it is answered'])(
    'I7: closed %s, a trial leaves nothing',
    async (moment) => {
      await start();
      await greet(poll);
      if (moment !== 'while it waits') await pass(TRIAL, poll.last);
      if (moment === 'before it is answered') websocket.last.events.onOpen();
      session.close(); // the rest is said by afterEach
    },
  );
});
