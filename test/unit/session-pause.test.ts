import { describe, expect, test } from '@jest/globals';
import { settle } from '../support/fakes.js';
import {
  clock,
  connect,
  errorsSeen,
  frames,
  given,
  HEARTBEAT,
  receive,
  rung,
  states,
} from '../support/session-world.js';

describe('pause', () => {
  const PAUSED = { type: 'paused', code: 'token_expired' };
  const said = (link = rung.last) => link.sent.map(({ type, channel }) => [type, channel].filter(Boolean).join(' '));
  const answer = (type: string, more: object = {}) => receive({ ...more, type, id: rung.last.sent.at(-1)?.id });

  test('brings a fresh token, and nothing else changes', async () => {
    const session = await connect();
    receive(PAUSED);
    await settle();
    expect(rung.last.sent.at(-1)).toEqual({ type: 'refresh', id: 2, token: 'token 2' });
    answer('refreshed');
    receive({ type: 'events', channel: 'a:1', from: 1, events: [{}] });
    expect([session.state, states, said(), frames.length]).toEqual([
      'connected',
      ['connecting', 'connected'],
      ['connect', 'refresh'],
      1,
    ]);
    receive(PAUSED); // the fresh one has expired as well
    await settle();
    expect(rung.last.sent.at(-1)).toMatchObject({ type: 'refresh', token: 'token 3' });
  });

  test('what is said in it waits, and pings do not', async () => {
    const session = await connect();
    receive(PAUSED);
    session.request({ type: 'unsubscribe', channel: 'a:1' });
    session.request({ type: 'ping' });
    session.request({ type: 'subscribe', channel: 'a:1' });
    await settle();
    expect(said()).toEqual(['connect', 'ping', 'refresh']);
    answer('refreshed');
    expect(said().slice(3)).toEqual(['unsubscribe a:1', 'subscribe a:1']);
  });

  test('a subscribe that crossed it and was refused for it is asked again, in the pause, and said after it', async () => {
    const session = await connect();
    const again = () => session.request({ type: 'subscribe', channel: 'a:1' });
    session.request({ type: 'subscribe', channel: 'a:1' }, again);
    receive(PAUSED);
    receive({ type: 'error', id: 2, code: 'token_expired', message: '' });
    await settle();
    expect(said()).toEqual(['connect', 'subscribe a:1', 'refresh']);
    answer('refreshed');
    expect(said().slice(3)).toEqual(['subscribe a:1']);
  });

  test('a token function that fails, or is slow, is asked again, and what comes too late is not used', async () => {
    const session = await connect();
    let late = (_: string) => {};
    const answers = [
      () => Promise.reject(new Error('no')),
      () => new Promise<string>((resolve) => (late = resolve)),
      async () => 'fresh',
    ];
    given.token = () => answers.shift()?.() ?? Promise.reject(new Error('asked too often'));
    receive(PAUSED);
    for (let beat = 0; beat < 13; beat += 1) {
      await clock.turn(HEARTBEAT);
      receive({ type: 'pong', id: 0 });
      if (beat === 10) late('late');
    }
    expect(rung.last.sent.filter(({ type }) => type === 'refresh')).toMatchObject([{ token: 'fresh' }]);
    expect(states).toEqual(['connecting', 'connected']);
    session.close();
    expect(clock.timers).toBe(0);
  });

  test('a token that is only a text is not sent again: the gateway ends the connection, and says why', async () => {
    given.token = async () => 'text';
    const session = await connect();
    receive(PAUSED);
    for (let beat = 0; beat < 30; beat += 1) {
      await clock.turn(HEARTBEAT);
      receive({ type: 'pong', id: 0 });
    }
    expect(said()).not.toContain('refresh');
    rung.last.events.onClose(4004, '');
    expect([session.state, errorsSeen.at(-1)?.code]).toEqual(['waiting', 'token_expired']);
  });

  test('a gateway that cannot tell whether the token is good is asked again, with the same one', async () => {
    await connect();
    given.token = async () => 'fresh';
    receive(PAUSED);
    await settle();
    answer('error', { code: 'unavailable', message: '' });
    await clock.turn(HEARTBEAT / 2);
    expect(rung.last.sent.filter(({ type }) => type === 'refresh')).toMatchObject([
      { token: 'fresh' },
      { token: 'fresh' },
    ]);
    answer('refreshed');
    expect(states).toEqual(['connecting', 'connected']);
  });

  test('a refused refresh ends the session with its error', async () => {
    const session = await connect();
    receive(PAUSED);
    await settle();
    answer('error', { code: 'unauthorized', message: 'why' });
    rung.last.events.onClose(4501, 'why');
    expect([session.state, errorsSeen.at(-1)?.code]).toEqual(['closed', 'unauthorized']);
    expect(clock.timers).toBe(0);
  });

  test('a token function that gives only expired tokens is asked less and less often, and every time it is told', async () => {
    given.random = () => 1;
    await connect();
    receive(PAUSED);
    await settle();
    answer('error', { code: 'token_expired', message: '' });
    rung.last.events.onClose(4004, '');
    const waits: number[] = [];
    for (let attempt = 0; attempt < 6; attempt += 1) {
      const before = clock.now();
      const links = rung.links.length;
      while (rung.links.length === links) await clock.turn(10);
      waits.push(clock.now() - before);
      rung.last.events.onOpen();
      answer('error', { code: 'token_expired', message: '' });
      rung.last.events.onClose(4004, '');
    }
    expect(waits).toEqual([100, 200, 400, 800, 1_600, 1_600]);
    expect(errorsSeen.filter((error) => error?.code === 'token_expired')).toHaveLength(7);
  });
});
