import { describe, expect, test } from '@jest/globals';
import { errors } from '../../client/protocol/index.js';
import type { Session } from '../../client/session/session.js';
import { settle } from '../support/fakes.js';
import {
  BACKOFF,
  CONNECTED,
  clock,
  connect,
  errorsSeen,
  frames,
  given,
  greet,
  HEARTBEAT,
  makeSession,
  receive,
  rung,
  states,
} from '../support/session-world.js';

test('says connect first, once the link is open, and is connected when that was answered', async () => {
  const session = makeSession();
  session.start();
  await settle();
  expect(rung.last.sent).toEqual([]);
  rung.last.events.onOpen();
  expect(rung.last.sent).toEqual([{ type: 'connect', id: 1, protocol: 1, token: 'token 1' }]);
  expect(session.state).toBe('connecting');
  receive(CONNECTED);
  expect(states).toEqual(['connecting', 'connected']);
});

test('a token that never comes is given up, and asked for again', async () => {
  given.token = () => new Promise(() => {});
  const session = makeSession();
  session.start();
  await clock.turn(9_999);
  expect(states).toEqual(['connecting']);
  await clock.turn(2);
  expect(states.slice(0, 2)).toEqual(['connecting', 'waiting']);
  given.token = async () => 'late';
  await clock.turn(BACKOFF.cap);
  expect(rung.last.sent).toEqual([]);
  rung.last.events.onOpen();
  expect(rung.last.sent[0]).toMatchObject({ type: 'connect', token: 'late' });
  session.close();
  expect(clock.timers).toBe(0);
});

test('a client without a token sends none', async () => {
  given.token = async () => undefined;
  await connect();
  expect(rung.last.sent).toEqual([{ type: 'connect', id: 1, protocol: 1 }]);
});

test('a reply goes to the command with its id, once, and every other frame to the subscriptions', async () => {
  const session = await connect();
  const replies: string[] = [];
  session.request({ type: 'unsubscribe', channel: 'a:1' }, ({ type }) => replies.push(`first ${type}`));
  session.request({ type: 'unsubscribe', channel: 'a:2' }, ({ type }) => replies.push(`second ${type}`));
  const [, first, second] = rung.last.sent;
  receive({ type: 'error', id: second?.id, code: 'not_subscribed', message: '' });
  receive({ type: 'unsubscribed', id: first?.id, channel: 'a:1', code: 'requested' });
  receive({ type: 'unsubscribed', id: first?.id, channel: 'a:1', code: 'requested' });
  expect(replies).toEqual(['second error', 'first unsubscribed']);
  const frame = { type: 'unsubscribed', channel: 'a:1', code: 'revoked' };
  receive(frame);
  rung.last.receive('garbage');
  receive({ type: 'of a later version' });
  expect(frames).toEqual([frame]);
});

describe('heartbeat', () => {
  test('a connection that hears something lives on, and pings only in silence', async () => {
    const session = await connect();
    for (let beat = 0; beat < 10; beat += 1) {
      await clock.turn(HEARTBEAT / 4);
      receive({ type: 'reset', channel: 'a:1', reason: 'ahead', position: 'e.1' });
    }
    expect(rung.last.sent.filter(({ type }) => type === 'ping')).toEqual([]);

    for (let beat = 0; beat < 20; beat += 1) {
      await clock.turn(HEARTBEAT / 2);
      const { type, id } = rung.last.sent.at(-1) ?? {};
      if (type === 'ping') receive({ type: 'pong', id });
    }
    expect(session.state).toBe('connected');
    expect(rung.links).toHaveLength(1);
    expect(rung.last.sent.filter(({ type }) => type === 'ping').length).toBeGreaterThan(5);
  });

  test('a connection that was silent for two heartbeats is dead, and not before', async () => {
    const session = await connect();
    const link = rung.last;
    await clock.turn(2 * HEARTBEAT - 1);
    expect([session.state, link.closed]).toEqual(['connected', false]);
    expect(link.sent.map(({ type }) => type)).toEqual(['connect', 'ping', 'ping', 'ping']);
    await clock.turn(1);
    expect([session.state, link.closed]).toEqual(['waiting', true]);
    expect(errorsSeen.at(-1)).toMatchObject({ code: 'heartbeat_timeout', retries: true });
  });

  test('a link that opens and then says nothing is given up as well', async () => {
    const session = makeSession();
    session.start();
    await settle();
    rung.last.events.onOpen();
    const link = rung.last;
    await clock.turn(60_000);
    expect(link.closed).toBe(true);
    session.close();
  });
});

describe('close codes', () => {
  const table = Object.values(errors).flatMap((entry) => ('close' in entry ? [entry] : []));
  const stops = [...table.filter(({ outcome }) => outcome === 'stop').map(({ close }) => close), 4999, 1009];
  const retries = [...table.filter(({ outcome }) => outcome === 'retry').map(({ close }) => close), 4499, 1000, 1006];

  test.each(stops)('%i ends the session for good', async (code) => {
    const session = await connect();
    rung.last.events.onClose(code, 'why');
    expect(session.state).toBe('closed');
    expect(clock.timers).toBe(0);
    expect(rung.last.closed).toBe(true);
    session.start();
    await clock.turn(60_000);
    expect(rung.links).toHaveLength(1);
    expect(errorsSeen.at(-1)).toMatchObject({ message: 'why' });
  });

  test.each(stops)('the error of %i says that nobody goes on trying', async (code) => {
    await connect();
    rung.last.events.onClose(code, 'why');
    expect(errorsSeen.at(-1)).toMatchObject({ retries: false });
  });

  test.each(retries)('%i is followed by another link, with a new token', async (code) => {
    const session = await connect();
    rung.last.events.onClose(code, 'why');
    expect(session.state).toBe('waiting');
    expect(errorsSeen.at(-1)).toMatchObject({ message: 'why', retries: true });
    await clock.turn(BACKOFF.cap);
    await greet();
    expect(states).toEqual(['connecting', 'connected', 'waiting', 'connecting', 'connected']);
    expect(rung.last.sent[0]).toMatchObject({ type: 'connect', token: 'token 2' });
  });
});

test('what comes of a link that was lost is ignored', async () => {
  const session = await connect();
  const old = rung.last;
  let answered = 0;
  session.request({ type: 'ping' }, () => {
    answered += 1;
  });
  const lastId = old.sent.at(-1)?.id;
  old.events.onClose(1006, '');
  await clock.turn(BACKOFF.cap);
  expect(rung.links).toHaveLength(2);

  const before = [...states];
  old.events.onOpen();
  receive({ type: 'pong', id: lastId }, old);
  receive({ type: 'events', channel: 'a:1', from: 1, events: [] }, old);
  old.events.onClose(4501, 'late');
  expect({ states, frames, answered, old: old.sent.length }).toEqual({
    states: before,
    frames: [],
    answered: 0,
    old: 2,
  });

  // Nor does a command of the old connection get the reply of a new one that has its id.
  await greet();
  receive({ type: 'pong', id: lastId });
  expect(answered).toBe(0);
});

describe('I7: after close nothing of the session is left', () => {
  const ways: Record<string, () => Promise<Session>> = {
    'before it was started': async () => makeSession(),
    'while the token is asked for': async () => {
      const session = makeSession();
      session.start();
      return session;
    },
    'while the link opens': async () => {
      const session = makeSession();
      session.start();
      await settle();
      return session;
    },
    'before connect was answered': async () => {
      const session = makeSession();
      session.start();
      await settle();
      rung.last.events.onOpen();
      return session;
    },
    'while connected': connect,
    'while a fresh token is asked for': async () => {
      const session = await connect();
      given.token = () => new Promise(() => {});
      receive({ type: 'paused', code: 'token_expired' });
      return session;
    },
    'before it is asked for again': async () => {
      const session = await connect();
      given.token = () => Promise.reject(new Error('no'));
      receive({ type: 'paused', code: 'token_expired' });
      await settle();
      return session;
    },
    'while the fresh token is checked': async () => {
      const session = await connect();
      receive({ type: 'paused', code: 'token_expired' });
      await settle();
      return session;
    },
    'while it waits': async () => {
      const session = await connect();
      rung.last.events.onClose(1006, '');
      return session;
    },
    'while the next link opens': async () => {
      const session = await connect();
      rung.last.events.onClose(1006, '');
      await clock.turn(BACKOFF.cap);
      return session;
    },
  };

  async function expectNothingLeft(session: Session): Promise<void> {
    const before = [...states];
    expect(before.at(-1)).toBe('closed');
    expect(clock.timers).toBe(0);
    await settle(); // a token that was asked for comes now
    for (const link of rung.links) {
      expect(link.closed).toBe(true);
      link.events.onOpen();
      receive({ ...CONNECTED, id: link.sent[0]?.id }, link);
      link.events.onClose(1006, '');
    }
    session.start();
    session.close();
    await clock.turn(60_000);
    expect({ states, timers: clock.timers, open: rung.links.filter(({ closed }) => !closed) }).toEqual({
      states: before,
      timers: 0,
      open: [],
    });
  }

  test.each(Object.keys(ways))('closed %s', async (way) => {
    const session = await ways[way]?.();
    if (session === undefined) throw new Error(way);
    session.close();
    await expectNothingLeft(session);
  });

  test.each(['connecting', 'connected', 'waiting'] as const)('closed by the listener that hears %s', async (state) => {
    const session = makeSession();
    given.listener = (entered) => {
      if (entered === state) session.close();
    };
    session.start();
    await settle();
    expect(given.tokens).toBe(state === 'connecting' ? 0 : 1);
    if (state !== 'connecting') await greet();
    if (state === 'waiting') rung.last.events.onClose(1006, '');
    await expectNothingLeft(session);
  });
});
