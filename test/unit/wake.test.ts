import { beforeEach, describe, expect, test } from '@jest/globals';
import { Backoff } from '../../client/ground/backoff.js';
import type { RowcastError } from '../../client/ground/error.js';
import { platformEnvironment } from '../../client/session/environment.js';
import { Session } from '../../client/session/session.js';
import { FakeClock, FakeEnvironment, FakeRung, settle } from '../support/fakes.js';

const HEARTBEAT = 25_000;

let clock: FakeClock;
let rung: FakeRung;
let environment: FakeEnvironment;
let errorsSeen: (string | undefined)[];
let session: Session;

beforeEach(() => {
  clock = new FakeClock();
  rung = new FakeRung();
  environment = new FakeEnvironment();
  errorsSeen = [];
  session = new Session({
    rungs: [rung],
    token: async () => undefined,
    clock,
    backoff: new Backoff({ base: 250, cap: 30_000 }, () => 1), // always the longest delay
    environment,
    events: {
      onState: (_state, error?: RowcastError) => errorsSeen.push(error?.code),
      onFrame: () => {},
    },
  });
  session.start();
});

async function greet(): Promise<void> {
  await settle();
  rung.last.events.onOpen();
  const limits = { maxFrameBytes: 1, maxSubscriptions: 1 };
  const connected = { type: 'connected', id: rung.last.sent[0]?.id, session: 's', heartbeat: HEARTBEAT, limits };
  rung.last.receive(JSON.stringify(connected));
}

function pong(): void {
  rung.last.receive(JSON.stringify({ type: 'pong', id: rung.last.sent.at(-1)?.id }));
}

function pings(): number {
  return rung.last.sent.filter(({ type }) => type === 'ping').length;
}

async function fail(): Promise<void> {
  rung.last.events.onClose(1006, '');
  await settle();
}

/** Attempts in vain for so long that the next one is far away. */
async function failFor(failures: number): Promise<void> {
  await settle();
  for (let failure = 0; failure < failures; failure += 1) {
    const links = rung.links.length;
    await fail();
    if (failure < failures - 1) while (rung.links.length === links) await clock.turn(30_000);
  }
  expect(session.state).toBe('waiting');
}

describe('a sign while connected', () => {
  test('asks the socket, once however many signs come, and keeps one that answers', async () => {
    await greet();
    const [link] = rung.links;
    for (let sign = 0; sign < 5; sign += 1) environment.hint();
    expect(pings()).toBe(1);
    pong();
    await clock.turn(3_000);
    environment.hint();
    expect(pings()).toBe(2);
    rung.last.receive(JSON.stringify({ type: 'events', channel: 'a:1', from: 1, events: [{}] }));
    await clock.turn(3_000);
    expect([session.state, rung.links.length, link?.closed]).toEqual(['connected', 1, false]);
    await clock.turn(HEARTBEAT / 2);
    expect(pings()).toBe(3); // the heart is listened to as before
  });

  test('gives up a socket that does not answer within 3 seconds, and comes back at once', async () => {
    await greet();
    const [dead] = rung.links;
    await clock.turn(6_000);
    environment.hint();
    await clock.turn(2_000);
    environment.hint(); // gives it no more time
    await clock.turn(999);
    expect([session.state, rung.links.length]).toEqual(['connected', 1]);
    await clock.turn(1);
    expect([session.state, rung.links.length, dead?.closed]).toEqual(['connecting', 2, true]);
    expect(errorsSeen).toContain('heartbeat_timeout');
    await greet();
    expect(session.state).toBe('connected');
  });
});

describe('a sign while waiting', () => {
  test('cuts the delay short, and what fails after that waits as after a first failure', async () => {
    await failFor(10);
    const links = rung.links.length;
    await clock.turn(5_000);
    expect(rung.links).toHaveLength(links);
    environment.hint();
    await clock.turn(0);
    expect(rung.links).toHaveLength(links + 1);
    await fail();
    await clock.turn(249);
    expect(rung.links).toHaveLength(links + 1);
    await clock.turn(1);
    expect(rung.links).toHaveLength(links + 2);
    await fail();
    await clock.turn(499);
    expect(rung.links).toHaveLength(links + 2);
    await clock.turn(1);
    expect(rung.links).toHaveLength(links + 3);
  });

  test('signs in a burst make no more than one attempt a second', async () => {
    await failFor(10);
    const links = rung.links.length;
    for (let burst = 0; burst < 100; burst += 1) {
      environment.hint();
      await clock.turn(50);
      if (session.state === 'connecting') await fail();
    }
    expect(rung.links.length - links).toBeGreaterThanOrEqual(4);
    expect(rung.links.length - links).toBeLessThanOrEqual(6); // in five seconds
  });

  test('does not come before the gateway said to come back', async () => {
    await settle();
    rung.last.events.onOpen();
    const frame = { type: 'error', code: 'too_many_connections', message: '', retryAfter: 20_000 };
    rung.last.receive(JSON.stringify(frame));
    rung.last.events.onClose(4005, '');
    for (let sign = 0; sign < 20; sign += 1) {
      environment.hint();
      await clock.turn(1_000);
    }
    expect(rung.links).toHaveLength(1);
    await clock.turn(250);
    expect(rung.links).toHaveLength(2);
  });
});

test('a sign during an attempt begins it anew only where it hangs', async () => {
  await settle();
  await clock.turn(2_999);
  environment.hint();
  await settle();
  expect(rung.links).toHaveLength(1);
  await clock.turn(1);
  environment.hint();
  await settle();
  expect(rung.links.map(({ closed }) => closed)).toEqual([true, false]);
});

test('a machine that slept first reads what has come, and only then judges the silence', async () => {
  await greet();
  await clock.sleep(3_600_000);
  expect([session.state, pings()]).toEqual(['connected', 1]);
  pong();
  await clock.turn(HEARTBEAT);
  expect([session.state, rung.links.length]).toEqual(['connected', 1]);
  await clock.sleep(3_600_000);
  await clock.turn(HEARTBEAT / 2);
  expect(session.state).toBe('waiting');
});

test('I7: a closed session is watched for no longer, and a sign does nothing', async () => {
  await greet();
  environment.hint();
  expect(environment.watched).toBe(true);
  session.close();
  expect([environment.watched, clock.timers]).toEqual([false, 0]);

  const stopped = new FakeEnvironment();
  const options = { rungs: [rung], token: async () => undefined, clock, backoff: new Backoff({ base: 1, cap: 1 }) };
  const events = { onState: () => {}, onFrame: () => {} };
  const other = new Session({ ...options, environment: stopped, events });
  other.start();
  await settle();
  rung.last.events.onOpen();
  rung.last.events.onClose(4501, 'unauthorized');
  expect([other.state, stopped.watched, clock.timers]).toEqual(['closed', false, 0]);
});

describe('the environment', () => {
  class Page extends EventTarget {
    readonly listeners = new Set<string>();
    visibilityState: DocumentVisibilityState = 'visible';
    override addEventListener(type: string, listener: EventListener): void {
      this.listeners.add(type);
      super.addEventListener(type, listener);
    }
    override removeEventListener(type: string, listener: EventListener): void {
      this.listeners.delete(type);
      super.removeEventListener(type, listener);
    }
    say(type: string, fields: object = {}): void {
      this.dispatchEvent(Object.assign(new Event(type), fields));
    }
  }

  let window: Page & { document: Page };
  let signs: number;
  let rests: number;
  let unwatch: () => void;

  beforeEach(() => {
    clock = new FakeClock();
    window = Object.assign(new Page(), { document: new Page() });
    signs = 0;
    rests = 0;
    unwatch = platformEnvironment(clock, window).watch(
      () => {
        signs += 1;
      },
      () => {
        rests += 1;
      },
    );
  });

  test('of a browser: the network comes or goes, the page is seen again, or comes out of the cache', () => {
    window.say('online');
    window.say('offline');
    expect(signs).toBe(2);
    window.say('pageshow', { persisted: false });
    expect(signs).toBe(2);
    window.say('pageshow', { persisted: true });
    expect(signs).toBe(3);
    window.document.visibilityState = 'hidden';
    window.document.say('visibilitychange');
    expect(signs).toBe(3);
    window.document.visibilityState = 'visible';
    window.document.say('visibilitychange');
    expect(signs).toBe(4);
    window.document.say('resume');
    expect([signs, rests]).toEqual([5, 0]);
  });

  test('of a browser: the page is left, and the browser may keep it', () => {
    window.say('pagehide', { persisted: true });
    expect([signs, rests]).toEqual([0, 1]);
  });

  test('a tick that comes far too late is a sign, but not in a page that nobody sees', async () => {
    await clock.turn(60_000);
    expect(signs).toBe(0);
    await clock.sleep(60_000);
    expect(signs).toBe(1);
    await clock.turn(60_000);
    expect(signs).toBe(1);
    window.document.visibilityState = 'hidden';
    await clock.sleep(60_000);
    expect(signs).toBe(1);
  });

  test('I7: no listener and no timer remains', () => {
    expect([...window.listeners, ...window.document.listeners]).toHaveLength(6);
    expect(clock.timers).toBe(1);
    unwatch();
    expect([...window.listeners, ...window.document.listeners]).toEqual([]);
    expect(clock.timers).toBe(0);
  });

  test('of Node: nothing but waking', async () => {
    unwatch();
    unwatch = platformEnvironment(clock, {}).watch(() => {
      signs += 1;
    });
    await clock.sleep(60_000);
    expect(signs).toBe(1);
    unwatch();
    expect(clock.timers).toBe(0);
  });
});
