import { beforeEach, describe, expect, test } from '@jest/globals';
import type { Command } from '../../client/protocol/index.js';
import { pollRung } from '../../client/transport/poll.js';
import { FakeClock } from '../support/fakes.js';
import {
  CONNECTED,
  events,
  fetch,
  heard,
  heartbeats,
  last,
  link,
  open,
  requests,
  say,
  subscribed,
} from '../support/rung-world.js';

describe('poll', () => {
  let clock: FakeClock;

  beforeEach(() => {
    clock = new FakeClock();
    return open(pollRung('http://gateway/path/', fetch, clock));
  });

  async function connect(): Promise<void> {
    await last().answer({ frames: [{ ...CONNECTED, id: 1 }], positions: {} });
    await say({ type: 'subscribe', id: 2, channel: 'a:1', since: 'now' });
    await last().answer({ frames: [{ ...CONNECTED, id: 1 }, subscribed(2)], positions: {} });
    heard.length = 0;
  }

  test('asks without waiting until every command was answered, and then waits from where it stands', async () => {
    expect(requests.map(({ url, said }) => `${url} ${said}`)).toEqual(['http://gateway/path/v1/poll?wait=0 connect']);
    await connect();
    await last().answer({ frames: [{ ...CONNECTED, id: 1 }, subscribed(2), events(6, 3)], positions: {} });
    await clock.turn(100);
    expect(requests.slice(1).map(({ url, said }) => `${new URL(url).search} ${said}`)).toEqual([
      '?wait=0 connect, subscribe now',
      '?wait=20 connect, subscribe e.5',
      '?wait=20 connect, subscribe e.8',
    ]);
    expect(heard).toEqual(['.', '.', 'events']);
  });

  test.each([
    [25_000, 60_000],
    [90_000, 90_000],
  ])('a heartbeat of %i is %i here: no ping gives up a poll that waits 20 seconds', async (heartbeat, expected) => {
    await last().answer({ frames: [{ ...CONNECTED, heartbeat, id: 1 }], positions: {} });
    expect(heartbeats).toEqual([expected]);
  });

  test('a connection without channels asks nothing until there is something to say', async () => {
    await last().answer({ frames: [{ ...CONNECTED, id: 1 }], positions: {} });
    expect(requests).toHaveLength(1);
    await say({ type: 'ping', id: 2 });
    expect(last().said).toBe('connect, ping');
    await last().answer({
      frames: [
        { ...CONNECTED, id: 1 },
        { type: 'pong', id: 2 },
      ],
      positions: {},
    });
    expect([requests.length, ...heard]).toEqual([2, 'connected', '.', 'pong']);
  });

  test('commands of one turn make one request; the one that was waiting for news is given up', async () => {
    await connect();
    const waiting = last();
    await say(
      { type: 'subscribe', id: 3, channel: 'b:1' },
      { type: 'subscribe', id: 4, channel: 'c:1' },
      { type: 'ping', id: 5 },
    );
    expect([requests.length, waiting.signal.aborted, last().said]).toEqual([
      4,
      true,
      'connect, subscribe e.5, subscribe now, subscribe now, ping',
    ]);
    expect(heard).toEqual([]);
  });

  test('a request that has not answered its commands is not given up for others: they are next', async () => {
    await connect();
    await say({ type: 'ping', id: 3 });
    const pinging = last();
    for (let id = 4; id < 10; id += 1) await say({ type: 'subscribe', id, channel: `x:${id}` });
    expect([requests.length, pinging.signal.aborted]).toEqual([4, false]);
    await pinging.answer({ frames: [{ ...CONNECTED, id: 1 }, subscribed(2), { type: 'pong', id: 3 }], positions: {} });
    expect([requests.length, last().commands.length]).toEqual([5, 8]);
    expect(heard).toContain('pong');
  });

  test('a channel that is left is answered here, and what still comes of it is dropped', async () => {
    await connect();
    await say({ type: 'subscribe', id: 3, channel: 'b:1', since: 'start' });
    const asking = last();
    link.send({ type: 'unsubscribe', id: 4, channel: 'a:1' });
    expect(heard).toEqual(['unsubscribed requested']);
    await asking.answer({
      frames: [{ ...CONNECTED, id: 1 }, subscribed(2), events(6, 1), subscribed(3, 'b:1'), events(1, 2, 'b:1')],
      positions: {},
    });
    expect(heard.filter((what) => what !== '.')).toEqual(['unsubscribed requested', 'subscribed', 'events']);
    await clock.turn(100);
    expect(last().said).toBe('connect, subscribe e.2');
  });

  test('I9: a channel that was served is asked for after those that were not: an answer has room for so much', async () => {
    await connect();
    await say({ type: 'subscribe', id: 3, channel: 'b:1', since: 'start' });
    const both = [{ ...CONNECTED, id: 1 }, subscribed(2), subscribed(3, 'b:1')];
    await last().answer({ frames: [...both, events(6, 1)], positions: {} });
    await clock.turn(100);
    expect(last().commands.flatMap((command) => ('channel' in command ? [command.channel] : []))).toEqual([
      'b:1',
      'a:1',
    ]);
  });

  test('where events come without end it asks ten times a second, and what is asked meanwhile at once', async () => {
    await connect();
    const before = requests.length;
    for (let seq = 6; seq < 16; seq += 1) {
      await last().answer({ frames: [{ ...CONNECTED, id: 1 }, subscribed(2), events(seq, 1)], positions: {} });
      await clock.turn(99);
      await clock.turn(1);
    }
    expect(requests.length).toBe(before + 10);
    await last().answer({ frames: [{ ...CONNECTED, id: 1 }, subscribed(2), events(16, 1)], positions: {} });
    expect(requests.length).toBe(before + 10);
    await say({ type: 'ping', id: 3 });
    expect(last().said).toBe('connect, subscribe e.16, ping');
    await clock.turn(1_000);
    expect(requests.length).toBe(before + 11); // the one that paused was given up
  });

  test('a subscription that the next gateway refuses has ended', async () => {
    await connect();
    const refusal = { type: 'error', id: 2, code: 'unknown_channel', message: '' };
    await last().answer({ frames: [{ ...CONNECTED, id: 1 }, refusal], positions: {} });
    expect(heard).toEqual(['.', 'unsubscribed unknown_channel']);
    expect(requests).toHaveLength(3);
  });

  const expired = { error: { code: 'token_expired', message: 'why' } };

  test('a token that has expired is a pause: nothing is asked before there is a fresh one, and then from where it stands', async () => {
    await connect();
    await last().answer({ frames: [{ ...CONNECTED, id: 1 }, subscribed(2), events(6, 3)], positions: {} });
    await clock.turn(100);
    await last().answer(expired, 401);
    await clock.turn(20_000);
    expect([requests.length, ...heard]).toEqual([4, '.', '.', 'events', 'paused token_expired']);
    await say({ type: 'refresh', id: 3, token: 'fresh' });
    expect([last().said, last().commands[0]]).toMatchObject(['connect, subscribe e.8, refresh', { token: 'fresh' }]);
    const refreshed = { type: 'refreshed', id: 3 };
    await last().answer({ frames: [{ ...CONNECTED, id: 1 }, subscribed(2), refreshed], positions: {} });
    await clock.turn(100);
    expect([requests.length, last().said, heard.at(-1)]).toEqual([6, 'connect, subscribe e.8', 'refreshed']);
  });

  test('so it is where the answer says so, and where a command was on its way, which is said again', async () => {
    await connect();
    await last().answer({ frames: [events(6, 1), { type: 'paused', code: 'token_expired' }], positions: {} });
    await say({ type: 'refresh', id: 3, token: 'fresh' });
    await last().answer({ frames: [{ type: 'refreshed', id: 3 }], positions: {} });
    await say({ type: 'subscribe', id: 4, channel: 'b:1', since: 'start' });
    await last().answer(expired, 401);
    await say({ type: 'refresh', id: 5, token: 'fresher' });
    expect(last().said).toBe('connect, subscribe e.6, subscribe start, refresh');
    expect(heard).toEqual(['events', 'paused token_expired', 'refreshed', 'paused token_expired']);
  });

  test.each<Command>([
    { type: 'refresh', id: 3, token: 'expired as well' },
    { type: 'ping', id: 3 },
  ])('a token that has expired in the pause ends the connection: $type', async (command) => {
    await connect();
    await last().answer(expired, 401);
    await say(command);
    await last().answer(expired, 401);
    expect(heard).toEqual(['paused token_expired', 'error token_expired', 'close 4004 why']);
    expect(requests).toHaveLength(4);
  });

  test('and so does the first one', async () => {
    await last().answer(expired, 401);
    expect(heard).toEqual(['error token_expired', 'close 4004 why']);
  });

  test('a request that breaks in the pause is a lost connection', async () => {
    await connect();
    await last().answer(expired, 401);
    await say({ type: 'refresh', id: 3, token: 'fresh' });
    await last().answer('a page of a proxy', 502);
    expect(heard).toEqual(['paused token_expired', 'close 1006 HTTP status 502']);
  });

  test('a gateway that cannot tell whose token it is has lost the connection, and none of its channels', async () => {
    await connect();
    const refusals = ['unavailable', 'not_connected'].map((code, index) => ({
      type: 'error',
      id: index + 1,
      code,
      message: 'why',
    }));
    await last().answer({ frames: refusals, positions: {} });
    expect(heard).toEqual(['error unavailable', 'close 1006 why']);
  });

  test('an answer that answers nothing is not asked for again and again', async () => {
    await last().answer({ frames: [], positions: {} });
    expect([requests.length, ...heard]).toEqual([1, 'close 1006 the response ended']);
  });

  test.each([
    [429, { error: { code: 'rate_limited', message: 'why' } }, ['error rate_limited', 'close 4006 why']],
    [401, { error: { code: 'unauthorized', message: 'why' } }, ['error unauthorized', 'close 4501 why']],
    [503, { error: { code: 'unavailable', message: 'why' } }, ['error unavailable', 'close 1006 why']],
    [403, 'a page of a proxy', ['close 1006 HTTP status 403']],
    [200, ['no answer'], ['close 1006 frames is not iterable']],
  ])('HTTP status %i with %j', async (status, body, said) => {
    await last().answer(body, status, { 'Retry-After': '7' });
    expect(heard).toEqual(said);
  });

  test('an answer that does not come in time is a lost connection: 10 seconds after the wait is over', async () => {
    await connect();
    await clock.turn(29_999);
    expect([last().signal.aborted, heard]).toEqual([false, []]);
    await clock.turn(1);
    expect(last().signal.aborted).toBe(true);
    expect(heard).toHaveLength(1);
    expect(heard[0]).toMatch(/^close 1006/);
    expect(clock.timers).toBe(0);
  });

  test('I7: closing gives up the request, and nothing is heard of it', async () => {
    await connect();
    link.close();
    expect(last().signal.aborted).toBe(true);
    await last().answer({ frames: [events(6, 1)], positions: {} });
    expect([requests.length, heard]).toEqual([3, []]);
  });
});
