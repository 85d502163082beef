import { beforeEach, describe, expect, test } from '@jest/globals';
import { Backoff } from '../../client/ground/backoff.js';
import type { RowcastError } from '../../client/ground/error.js';
import { errors, type Frame } from '../../client/protocol/index.js';
import type { SessionState } from '../../client/session/connection.js';
import { Session } from '../../client/session/session.js';
import { FakeClock, FakeEnvironment, FakeRung, settle } from '../support/fakes.js';

const HEARTBEAT = 1_000;
const BACKOFF = { base: 100, cap: 1_600 };
const CONNECTED = {
  type: 'connected',
  id: 1,
  session: 's',
  heartbeat: HEARTBEAT,
  limits: { maxFrameBytes: 1, maxSubscriptions: 1 },
};

let clock: FakeClock;
let rung: FakeRung;
let random: () => number;
let states: SessionState[];
let errorsSeen: (RowcastError | undefined)[];
let frames: Frame[];
let tokens: number;
let token: () => Promise<string | undefined>;
let listener: (state: SessionState) => void;

beforeEach(() => {
  clock = new FakeClock();
  rung = new FakeRung();
  random = () => 0.5;
  states = [];
  errorsSeen = [];
  frames = [];
  tokens = 0;
  token = async () => `token ${++tokens}`;
  listener = () => {};
});

function makeSession(): Session {
  return new Session({
    rungs: [rung],
    token: () => token(),
    clock,
    random: () => random(),
    backoff: new Backoff(BACKOFF, () => random()),
    environment: new FakeEnvironment(),
    events: {
      onState(state, error) {
        states.push(state);
        errorsSeen.push(error);
        listener(state);
      },
      onFrame: (frame) => frames.push(frame),
    },
  });
}

function receive(frame: object, link = rung.last): void {
  link.receive(JSON.stringify(frame));
}

/** Plays the gateway up to the connected reply, on the newest link. */
async function greet(heartbeat = HEARTBEAT): Promise<void> {
  await settle();
  rung.last.events.onOpen();
  receive({ ...CONNECTED, id: rung.last.sent[0]?.id, heartbeat });
}

async function connect(): Promise<Session> {
  const session = makeSession();
  session.start();
  await greet();
  return session;
}

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
  token = () => new Promise(() => {});
  const session = makeSession();
  session.start();
  await clock.turn(9_999);
  expect(states).toEqual(['connecting']);
  await clock.turn(2);
  expect(states.slice(0, 2)).toEqual(['connecting', 'waiting']);
  token = async () => 'late';
  await clock.turn(BACKOFF.cap);
  expect(rung.last.sent).toEqual([]);
  rung.last.events.onOpen();
  expect(rung.last.sent[0]).toMatchObject({ type: 'connect', token: 'late' });
  session.close();
  expect(clock.timers).toBe(0);
});

test('a client without a token sends none', async () => {
  token = async () => undefined;
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
    token = () => answers.shift()?.() ?? Promise.reject(new Error('asked too often'));
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
    token = async () => 'text';
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
    token = async () => 'fresh';
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
    random = () => 1;
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

describe('backoff', () => {
  /** How long the session waited after each of `count` links that were lost after `lived` milliseconds. */
  async function waits(count: number, lived: number): Promise<number[]> {
    const found: number[] = [];
    const session = await connect();
    for (let index = 0; index < count; index += 1) {
      // Pongs keep the link alive for as long as it shall live.
      for (let left = lived; left > 0; left -= HEARTBEAT) {
        await clock.turn(Math.min(left, HEARTBEAT));
        receive({ type: 'pong', id: 0 });
      }
      const links = rung.links.length;
      rung.last.events.onClose(1006, '');
      let waited = 0;
      for (; rung.links.length === links; waited += 1) await clock.turn(1);
      found.push(waited);
      await greet();
    }
    session.close();
    return found;
  }

  test('each loss may wait twice as long as the one before, up to the cap, and at the cap still at random', async () => {
    random = () => 0.99;
    expect(await waits(7, 0)).toEqual([99, 198, 396, 792, 1584, 1584, 1584]);
    let draws = 0;
    random = () => [0.99, 0.99, 0.99, 0.99, 0.99, 0.25, 0][draws++] ?? 0;
    expect(await waits(7, 0)).toEqual([99, 198, 396, 792, 1584, 400, 1]);
  });

  test('a link that lived for five seconds makes the next loss the first one, a shorter one does not', async () => {
    expect(await waits(3, 4_999)).toEqual([50, 100, 200]);
    expect(await waits(3, 5_000)).toEqual([50, 50, 50]);
  });

  test('the delays grow while no link comes about, also after one that lived long', async () => {
    const session = await connect();
    for (let beat = 0; beat < 10; beat += 1) {
      await clock.turn(HEARTBEAT);
      receive({ type: 'pong', id: 0 });
    }
    for (const delay of [50, 100, 200, 400]) {
      rung.last.events.onClose(1006, '');
      await clock.turn(delay - 1);
      expect(session.state).toBe('waiting');
      await clock.turn(1);
      expect(session.state).toBe('connecting');
    }
  });

  test('a token that cannot be had is asked for again, and nothing is dialled without it', async () => {
    token = () => {
      tokens += 1;
      return tokens < 4 ? Promise.reject(new Error('not yet')) : Promise.resolve('late');
    };
    const session = makeSession();
    session.start();
    await settle();
    expect(session.state).toBe('waiting');
    expect(errorsSeen.at(-1)).toMatchObject({ code: 'unavailable', retries: true });
    await clock.turn(50 + 100 + 200);
    expect(rung.links).toHaveLength(1);
    await greet();
    expect(rung.last.sent[0]).toMatchObject({ token: 'late' });
    expect(session.state).toBe('connected');
  });

  test('start opens the first link only: while the session waits it does not cut the delay short', async () => {
    const session = await connect();
    rung.last.events.onClose(1006, '');
    session.start();
    await settle();
    expect(session.state).toBe('waiting');
    expect(rung.links).toHaveLength(1);
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
      token = () => new Promise(() => {});
      receive({ type: 'paused', code: 'token_expired' });
      return session;
    },
    'before it is asked for again': async () => {
      const session = await connect();
      token = () => Promise.reject(new Error('no'));
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
    listener = (entered) => {
      if (entered === state) session.close();
    };
    session.start();
    await settle();
    expect(tokens).toBe(state === 'connecting' ? 0 : 1);
    if (state !== 'connecting') await greet();
    if (state === 'waiting') rung.last.events.onClose(1006, '');
    await expectNothingLeft(session);
  });
});
