import { describe, expect, test } from '@jest/globals';
import type { FakeRung } from '../support/fakes.js';
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
  websocket,
} from '../support/ladder-world.js';

describe('down', () => {
  test('a rung that does not open is left for the next at once, each with a token of its own', async () => {
    await start();
    await fail(websocket);
    await fail(sse);
    await greet(poll);
    expect(states).toEqual(['connecting', 'connecting unavailable', 'connecting unavailable', 'connected poll']);
    expect(poll.last.sent[0]).toMatchObject({ type: 'connect', token: 'token 3' });
    expect([session.transport, given.remembered]).toEqual(['poll', 'poll']);
  });

  test('one that hangs is left after 4 seconds; after the last one comes a delay, and then 8 seconds', async () => {
    await start();
    await clock.turn(3_999);
    expect(counts()).toEqual([1, 0, 0]);
    await clock.turn(1);
    sse.last.events.onOpen();
    await clock.turn(4_000);
    expect(counts()).toEqual([1, 1, 1]);
    await fail(poll);
    expect(session.state).toBe('waiting');
    await clock.turn(1_000);
    expect(counts()).toEqual([2, 1, 1]);
    await clock.turn(7_999);
    expect(counts()).toEqual([2, 1, 1]);
    await clock.turn(1);
    expect(counts()).toEqual([2, 2, 1]);
  });

  test('one that was connected is tried again, and left only when it failed three times', async () => {
    await start();
    await greet(websocket);
    await pass(60_000, websocket.last);
    await fail(websocket);
    for (const delay of [1_000, 2_000]) {
      expect(session.state).toBe('waiting');
      await clock.turn(delay);
      await fail(websocket);
    }
    expect(session.state).toBe('waiting');
    await clock.turn(4_000);
    await fail(websocket);
    expect(counts()).toEqual([4, 1, 0]);
  });

  test('a stream that is held back is left after 4 seconds, though it was connected', async () => {
    await start();
    await fail(websocket);
    await greet(sse);
    expect([session.transport, given.remembered]).toEqual(['sse', null]);
    await clock.turn(3_999);
    expect(session.transport).toBe('sse');
    await clock.turn(1);
    expect(counts()).toEqual([1, 1, 1]);
    await greet(poll);
    expect(states.slice(2)).toEqual(['connected sse', 'connecting unavailable', 'connected poll']);
  });

  test('a stream has 4 seconds from each command, since the rung may have asked for it anew', async () => {
    await start();
    await fail(websocket);
    await greet(sse);
    for (let second = 0; second < 12; second += 1) {
      await clock.turn(1_000);
      session.request({ type: 'subscribe', channel: `a:${second}` });
    }
    expect(session.transport).toBe('sse');
    sse.last.events.onHeard();
    await pass(20_000, sse.last);
    expect([session.transport, given.remembered]).toEqual(['sse', 'sse']);
  });

  test('a gateway that says when to come back is visited by the same rung', async () => {
    await start();
    websocket.last.events.onOpen();
    websocket.last.receive(JSON.stringify({ type: 'error', code: 'rate_limited', message: '', retryAfter: 2_000 }));
    await fail(websocket, 4006);
    expect([session.state, ...counts()]).toEqual(['waiting', 1, 0, 0]);
    await clock.turn(3_000);
    expect(counts()).toEqual([2, 0, 0]);
  });

  test.each([4000, 4001, 4003, 4004, 4007])(
    'a close code %i speaks for the gateway, also without an error before it',
    async (code) => {
      await start();
      websocket.last.events.onOpen();
      await fail(websocket, code);
      expect([session.state, ...counts()]).toEqual(['waiting', 1, 0, 0]);
    },
  );

  test('a gateway that has no such way, or not for this page, may have another', async () => {
    given.remembered = 'sse';
    await start();
    sse.last.events.onOpen();
    sse.last.receive(JSON.stringify({ type: 'error', code: 'not_found', message: '' }));
    await fail(sse);
    expect(counts()).toEqual([1, 1, 0]);
  });

  test('a gateway that says `unavailable` is asked again by the same rung', async () => {
    given.remembered = 'sse';
    await start();
    sse.last.events.onOpen();
    sse.last.receive(JSON.stringify({ type: 'error', code: 'unavailable', message: '' }));
    await fail(sse);
    await clock.turn(1_000);
    expect(counts()).toEqual([0, 2, 0]);
  });

  test('a gateway that cannot tell just now whose token it is, is asked again by the same rung, when it says', async () => {
    await start();
    websocket.last.events.onOpen();
    const id = websocket.last.sent[0]?.id;
    websocket.last.receive(JSON.stringify({ type: 'error', id, code: 'unavailable', message: '', retryAfter: 5_000 }));
    expect([states.at(-1), websocket.last.closed]).toEqual(['waiting unavailable', true]);
    await clock.turn(4_999);
    expect(counts()).toEqual([1, 0, 0]);
    await clock.turn(1_001);
    expect(counts()).toEqual([2, 0, 0]);
  });

  test.each(['websocket', 'sse', 'poll'])('a gateway that says stop on %s ends the session', async (name) => {
    given.remembered = name;
    await start();
    const rung = [websocket, sse, poll].find((rung) => rung.name === name) as FakeRung;
    await fail(rung, 4501);
    expect([session.state, ...states.slice(-1)]).toEqual(['closed', 'closed unauthorized']);
    await clock.turn(600_000);
    expect(counts().reduce((sum, count) => sum + count)).toBe(1);
  });
});

test('a page that is left has no connection, so that the browser may keep it; shown again it connects at once', async () => {
  await start();
  await greet(websocket);
  environment.suspend();
  expect([session.state, websocket.last.closed, clock.timers]).toEqual(['waiting', true, 0]);
  await clock.turn(60_000);
  expect(counts()).toEqual([1, 0, 0]);
  environment.hint();
  await clock.turn(0);
  await greet(websocket);
  expect(states).toEqual(['connecting', 'connected websocket', 'waiting', 'connecting', 'connected websocket']);
});
