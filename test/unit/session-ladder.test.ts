import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Backoff } from '../../client/ground/backoff.js';
import { Session } from '../../client/session/session.js';
import { FakeClock, FakeEnvironment, type FakeLink, FakeRung, settle } from '../support/fakes.js';

const HEARTBEAT = 25_000;
/** When the first trial of a better rung is due, in milliseconds. */
const TRIAL = 2_000;

let clock: FakeClock;
let environment: FakeEnvironment;
let websocket: FakeRung;
let sse: FakeRung;
let poll: FakeRung;
let states: string[];
let remembered: string | null;
let tokens: number;
let random: number;
let session: Session;

beforeEach(() => {
  clock = new FakeClock();
  environment = new FakeEnvironment();
  [websocket, sse, poll] = [new FakeRung('websocket'), new FakeRung('sse'), new FakeRung('poll')];
  states = [];
  remembered = null;
  tokens = 0;
  random = 0.5;
});

afterEach(() => {
  session.close();
  expect(clock.timers).toBe(0);
  expect(environment.watched).toBe(false);
  for (const { links } of [websocket, sse, poll]) expect(links.filter(({ closed }) => !closed)).toEqual([]);
});

async function start(): Promise<void> {
  session = new Session({
    rungs: [websocket, sse, poll],
    memory: {
      read: () => remembered,
      write: (name) => {
        remembered = name;
      },
    },
    token: async () => `token ${++tokens}`,
    clock,
    random: () => random,
    backoff: new Backoff({ base: 1_000, cap: 8_000 }, () => 1), // always the longest delay
    environment,
    events: {
      onState: (state, error) => states.push([state, session.transport, error?.code].filter(Boolean).join(' ')),
      onFrame: () => {},
    },
  });
  session.start();
  await settle();
}

async function greet({ last }: FakeRung): Promise<void> {
  last.events.onOpen();
  const limits = { maxFrameBytes: 1, maxSubscriptions: 1 };
  last.receive(JSON.stringify({ type: 'connected', id: last.sent[0]?.id, session: 's', heartbeat: HEARTBEAT, limits }));
  await settle();
}

async function fail({ last }: FakeRung, code = 1006): Promise<void> {
  last.events.onClose(code, '');
  await settle();
}

/** Time passes, in which the link in use lives. */
async function pass(time: number, link: FakeLink): Promise<void> {
  for (let left = time; left > 0; left -= HEARTBEAT / 4) {
    await clock.turn(Math.min(left, HEARTBEAT / 4));
    if (!link.closed) link.events.onHeard();
  }
}

const counts = () => [websocket, sse, poll].map(({ links }) => links.length);

describe('down', () => {
  test('a rung that does not open is left for the next at once, each with a token of its own', async () => {
    await start();
    await fail(websocket);
    await fail(sse);
    await greet(poll);
    expect(states).toEqual(['connecting', 'connecting unavailable', 'connecting unavailable', 'connected poll']);
    expect(poll.last.sent[0]).toMatchObject({ type: 'connect', token: 'token 3' });
    expect([session.transport, remembered]).toEqual(['poll', 'poll']);
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
    expect([session.transport, remembered]).toEqual(['sse', null]);
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
    expect([session.transport, remembered]).toEqual(['sse', 'sse']);
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
    remembered = 'sse';
    await start();
    sse.last.events.onOpen();
    sse.last.receive(JSON.stringify({ type: 'error', code: 'not_found', message: '' }));
    await fail(sse);
    expect(counts()).toEqual([1, 1, 0]);
  });

  test('a gateway that says `unavailable` is asked again by the same rung', async () => {
    remembered = 'sse';
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
    remembered = name;
    await start();
    const rung = [websocket, sse, poll].find((rung) => rung.name === name) as FakeRung;
    await fail(rung, 4501);
    expect([session.state, ...states.slice(-1)]).toEqual(['closed', 'closed unauthorized']);
    await clock.turn(600_000);
    expect(counts().reduce((sum, count) => sum + count)).toBe(1);
  });
});

describe('up', () => {
  beforeEach(() => {
    remembered = 'poll';
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
    expect([session.transport, poll.last.closed, remembered]).toEqual(['websocket', true, 'websocket']);
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
    random = drawn;
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
    remembered = null;
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

  test('signs that do not end do not keep it on a rung that stood and now hangs', async () => {
    remembered = null;
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
