import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Command, Frame, Reply } from '../../client/protocol/index.js';
import type { Connection, ConnectionEvents, Request, SessionState } from '../../client/session/connection.js';
import { type Browser, WINDOW } from '../../client/tabs/browser.js';
import type { Follower } from '../../client/tabs/follower.js';
import { identityOf } from '../../client/tabs/identity.js';
import { Leader } from '../../client/tabs/leader.js';
import { TabGateway } from '../../client/tabs/tab-gateway.js';
import { settle } from '../support/fakes.js';

const CHANNEL = 'message:lobby';

/** The wire: what the tabGateway asks, and the frames that the test answers with. */
class FakeConnection implements Connection {
  readonly transport = null;
  readonly heardAt = null;
  readonly roundTrip = null;
  readonly retryAt = null;
  readonly asked: Request[] = [];
  state: SessionState = 'waiting';
  events!: ConnectionEvents;
  closed = false;
  #replies: ((reply: Reply) => void)[] = [];

  start(): void {}

  request(command: Request, onReply: (reply: Reply) => void = () => {}): void {
    this.asked.push(command);
    if (command.type === 'subscribe') this.#replies.push(onReply);
  }

  close(): void {
    this.closed = true;
  }

  enter(state: SessionState): void {
    this.state = state;
    this.events.onState(state);
  }

  reconnect(): void {}

  subscribed(head: number, floor = 1): void {
    this.#replies.shift()?.({ type: 'subscribed', id: 1, channel: CHANNEL, epoch: 'e', head, floor });
  }

  bring(from: number, count: number, pad = ''): void {
    const events = Array.from({ length: count }, () => ({ pad }));
    this.events.onFrame({ type: 'events', channel: CHANNEL, from, events });
  }

  /** The `since` of each subscribe, and a dash for each unsubscribe, since this was asked last. */
  said(): string[] {
    return this.asked.splice(0).map((command) => (command.type === 'subscribe' ? String(command.since) : '-'));
  }
}

let carrier: FakeConnection;
let tabGateway: TabGateway;

beforeEach(() => {
  carrier = new FakeConnection();
});

function carry(events: ConnectionEvents): Connection {
  carrier.events = events;
  return carrier;
}

interface FakeTab {
  readonly follower: Follower;
  readonly frames: Frame[];
  writable: boolean;
  subscribe(since: string): void;
}

function openTab(): FakeTab {
  const frames: Frame[] = [];
  const tab = { frames, writable: true } as FakeTab;
  const follower = tabGateway.open({
    get writable() {
      return tab.writable;
    },
    send: (frame) => frames.push(frame),
  });
  const say = (command: Command) => follower.receive(command);
  say({ type: 'connect', id: 0, protocol: 1 });
  frames.length = 0;
  return Object.assign(tab, {
    follower,
    subscribe: (since: string) => say({ type: 'subscribe', id: 1, channel: CHANNEL, since }),
  });
}

describe('the wire', () => {
  beforeEach(() => {
    tabGateway = new TabGateway(carry);
    carrier.enter('connected');
  });

  test('a tab that begins where the wire stands, or later, costs the gateway nothing', async () => {
    const [one, two, three] = [openTab(), openTab(), openTab()];
    one.subscribe('e.5');
    carrier.subscribed(7);
    expect(carrier.said()).toEqual(['e.5']);
    two.subscribe('now');
    three.subscribe('e.6');
    await settle();
    expect(carrier.said()).toEqual([]);
    expect(two.frames).toEqual(one.frames);
    carrier.bring(6, 2);
    carrier.bring(8, 1);
    const came = ({ frames }: FakeTab) => frames.slice(1).map((frame) => frame.type === 'events' && frame.from);
    expect([one, two, three].map(came)).toEqual([[6, 8], [8], [7, 8]]);
    // The same object, which is then encoded once.
    expect(two.frames.at(-1)).toBe(one.frames.at(-1));
  });

  test('it goes back for a tab that begins earlier, and forward again when that has left', async () => {
    const [one, two] = [openTab(), openTab()];
    one.subscribe('now');
    carrier.subscribed(100);
    two.subscribe('e.50');
    await settle();
    carrier.subscribed(100);
    carrier.bring(51, 9);
    expect(one.frames).toHaveLength(1);
    two.follower.gone();
    expect(carrier.said()).toEqual(['now', '-', 'e.50', '-', 'e.100']);
  });

  test('I6: a tab that takes nothing stops the wire if it is the only one, and no other', async () => {
    const [one, two] = [openTab(), openTab()];
    one.subscribe('now');
    carrier.subscribed(0);
    carrier.said();
    two.subscribe('now');
    await settle();
    two.writable = false;
    carrier.bring(1, 3);
    expect([one.frames.length, two.frames.length, carrier.said()]).toEqual([2, 1, []]);
    one.follower.gone();
    expect(carrier.said()).toEqual(['-']);
    two.writable = true;
    two.follower.drained();
    expect(carrier.said()).toEqual(['e.0']);
  });

  test('`now` is asked of the gateway while no tab takes anything, because the head may have risen', async () => {
    const [one, two] = [openTab(), openTab()];
    one.subscribe('now');
    carrier.subscribed(10);
    one.writable = false;
    carrier.bring(11, 1);
    expect(carrier.said()).toEqual(['now', '-']);
    two.subscribe('now');
    await settle();
    carrier.subscribed(500);
    expect([carrier.said(), two.frames]).toMatchObject([['now'], [{ type: 'subscribed', head: 500 }]]);
    carrier.bring(501, 1);
    expect(two.frames.at(-1)).toMatchObject({ type: 'events', from: 501 });
  });

  test('`start` is asked of the gateway, because the floor may have risen', async () => {
    const [one, two] = [openTab(), openTab()];
    one.subscribe('now');
    carrier.subscribed(10, 1);
    two.subscribe('start');
    await settle();
    carrier.subscribed(10, 4);
    expect(carrier.said()).toEqual(['now', '-', 'start']);
    expect(two.frames).toMatchObject([{ type: 'subscribed', floor: 4 }]);
  });

  test('another transport that takes over is told everything, and the tabs nothing', async () => {
    const [one, two] = [openTab(), openTab()];
    one.subscribe('e.3');
    carrier.subscribed(9);
    two.subscribe('e.5');
    await settle();
    carrier.said();
    carrier.enter('connected');
    expect(carrier.said()).toEqual(['e.3']);
    expect([one.frames.length, two.frames.length]).toEqual([1, 1]);
  });

  test('a lost connection is told, and who asks meanwhile is answered by the next one', () => {
    const tab = openTab();
    tab.subscribe('e.3');
    carrier.subscribed(3);
    carrier.enter('waiting');
    expect(tab.frames.at(-1)).toEqual({ type: 'unsubscribed', channel: CHANNEL, code: 'unavailable' });
    carrier.said();
    tab.subscribe('e.3');
    expect(carrier.said()).toEqual([]);
    carrier.enter('connected');
    expect(carrier.said()).toEqual(['e.3']);
  });

  test('a refusal goes to the tab that asked, and a channel that no tab follows is forgotten', () => {
    const tab = openTab();
    tab.subscribe('now');
    tab.follower.receive({ type: 'subscribe', id: 2, channel: CHANNEL });
    tab.follower.receive({ type: 'unsubscribe', id: 3, channel: 'message:other' });
    expect(tab.frames).toMatchObject([
      { id: 2, code: 'already_subscribed' },
      { id: 3, code: 'not_subscribed' },
    ]);
    tab.follower.receive({ type: 'unsubscribe', id: 4, channel: CHANNEL });
    expect(tab.frames.slice(2)).toMatchObject([
      { type: 'unsubscribed', id: 1 },
      { type: 'unsubscribed', id: 4 },
    ]);
    expect(carrier.said()).toEqual(['now', '-']);
  });
});

describe('the leader', () => {
  const channels = new Map<string, Set<FakeBroadcast>>();

  class FakeBroadcast {
    readonly name: string;
    onmessage: ((event: MessageEvent) => void) | null = null;

    constructor(name: string) {
      this.name = name;
      channels.set(name, (channels.get(name) ?? new Set()).add(this));
    }

    postMessage(data: unknown): void {
      for (const other of channels.get(this.name) ?? []) {
        if (other !== this) queueMicrotask(() => other.onmessage?.({ data } as MessageEvent));
      }
    }

    close(): void {
      channels.get(this.name)?.delete(this);
    }
  }

  const browser: Browser = {
    locks: { request: () => new Promise(() => {}) } as unknown as Browser['locks'],
    BroadcastChannel: FakeBroadcast as unknown as Browser['BroadcastChannel'],
  };

  afterEach(() => channels.clear());

  test('I6: a tab that says nothing of having read gets so much and no more, and then what follows', async () => {
    let wanted = 0;
    const leader = new Leader({ browser, group: 'g', json: JSON, open: carry, onWanted: () => wanted++ });
    const down: string[] = [];
    const pipe = new FakeBroadcast('p');
    pipe.onmessage = ({ data }) => down.push((data as { text: string }).text);
    new FakeBroadcast('g').postMessage({ pipe: 'p', command: { type: 'connect', id: 0, protocol: 1 } });
    await settle();
    pipe.postMessage({ command: { type: 'subscribe', id: 1, channel: CHANNEL, since: 'now' } });
    await settle();
    expect(wanted).toBe(1); // there was no connection
    carrier.enter('connected');
    carrier.subscribed(0);
    pipe.postMessage({ command: { type: 'ping', id: 2 } });
    await settle();
    expect(wanted).toBe(1);

    const pad = 'x'.repeat(10_000);
    for (let seq = 1; seq <= 300; seq += 1) carrier.bring(seq, 1, pad);
    await settle();
    const sent = down.join('').length;
    expect(sent).toBeGreaterThanOrEqual(WINDOW);
    expect(sent).toBeLessThan(WINDOW + 20_000);
    carrier.said();
    pipe.postMessage({ read: sent / 2 });
    await settle();
    expect(carrier.said()).toEqual([]); // not for every little it reads
    pipe.postMessage({ read: sent / 2 });
    await settle();
    const last = (JSON.parse(down.at(-1) ?? '') as { from: number }).from;
    expect(carrier.said()).toEqual([`e.${last}`]);

    leader.close();
    expect(carrier.closed).toBe(true);
    await settle();
    expect([...channels.values()].map((ends) => ends.size)).toEqual([1, 1]); // those of the test
  });
});

describe('identity', () => {
  const jwt = (claims: unknown) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;

  test.each([
    ['another subject', { sub: 'ann' }, { sub: 'bob' }, false],
    ['another right', { sub: 'ann', role: 'user' }, { sub: 'ann', role: 'admin' }, false],
    ['another issuer', { sub: 'ann', iss: 'a' }, { sub: 'ann', iss: 'b' }, false],
    ['another time', { sub: 'ann', exp: 1, iat: 1, nbf: 1, jti: 'a' }, { sub: 'ann', exp: 2, iat: 2, jti: 'b' }, true],
    ['another order', { sub: 'ann', iss: 'a' }, { iss: 'a', sub: 'ann' }, true],
    ['letters beyond ASCII', { sub: 'é?ÿ~' }, { sub: 'é?ÿ~' }, true],
    ['no claims', {}, { sub: '' }, false],
  ])('I5: %s', (_, one, other, same) => {
    expect(identityOf(jwt(one)) === identityOf(jwt(other))).toBe(same);
    expect(identityOf(jwt(one))).not.toBe(identityOf(undefined));
  });

  test.each(['', 'opaque', 'a.b.c', 'a..c', jwt(null), jwt('text')])('I5: %j stands for no user', (token) => {
    expect(identityOf(token)).toBeNull();
  });
});
