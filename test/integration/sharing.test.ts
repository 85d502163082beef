import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Follower, follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { type Claims, signWith } from '../support/issuer.js';
import { metricOf } from '../support/metrics.js';
import { type Tab, Tabs } from '../support/tabs.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const SECRET = 'x'.repeat(32);

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
let tabs: Tabs;
let channels = 0;
let channel: string;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
  writer = await connectWriter(database.url);
});
beforeEach(() => {
  tabs = new Tabs();
  channels += 1;
  channel = `message:shared-${channels}`;
});
afterEach(() => tabs.close());
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

const write = (count: number, to = channel) =>
  writer.query(
    `INSERT INTO rowcast.messages (key, event_type, data) SELECT $1, 'note', to_json(i) FROM generate_series(1, $2::int) i`,
    [to.replace('message:', ''), count],
  );

const metric = (name: string, from = gateway) => metricOf(from.url, name);

/** Everything came, once, in order. */
function expectAll(follower: Follower, count: number): void {
  expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, count));
  expect(follower.resets).toEqual([]);
}

async function openTabs(count: number): Promise<{ tab: Tab; follower: Follower }[]> {
  const opened = Array.from({ length: count }, () => tabs.open({ url: gateway.url }));
  const all = opened.map((tab) => ({ tab, follower: follow(tab.client, channel) }));
  await Promise.all(all.map(({ follower }) => follower.live()));
  return all;
}

test('I1 I2 I3: five tabs read over one connection and one subscription', async () => {
  await write(10);
  const all = await openTabs(5);
  await write(10);
  for (const { follower } of all) await follower.count(20);
  for (const { follower, tab } of all) {
    expectAll(follower, 20);
    expect(tab.client.transport).toBe('tabs');
  }
  expect([await metric('rowcast_connections'), await metric('rowcast_subscriptions')]).toEqual([1, 1]);
});

test.each(['close', 'crash', 'hide'] as const)(
  'I1 I2 I3: the leading tab goes (%s) while rows are written, and another one takes over',
  async (way) => {
    const all = await openTabs(4);
    const first = all.shift();
    const writing = (async () => {
      for (let batch = 0; batch < 40; batch += 1) await write(5);
    })();
    for (const { follower } of all) await follower.count(20);
    if (way === 'close') first?.tab.client.close();
    else first?.tab[way]();
    await writing;
    for (const { follower } of all) await follower.count(200);
    for (const { follower } of all) expectAll(follower, 200);
    await until(async () => (await metric('rowcast_connections')) === 1, { what: 'one connection' });
    if (way !== 'hide') return;
    first?.tab.show();
    await first?.follower.count(200);
    if (first !== undefined) expectAll(first.follower, 200);
    expect(await metric('rowcast_connections')).toBe(1);
  },
);

test('I2: a gateway that goes and comes back is found again, and all tabs go on where they stood', async () => {
  const own = await startTestGateway(database.url, NO_RATES);
  const all = Array.from({ length: 3 }, () => tabs.open({ url: own.url })).map((tab) => follow(tab.client, channel));
  await write(5);
  for (const follower of all) await follower.count(5);
  await own.stop();
  for (const { subscription } of all) {
    await until(() => subscription.state !== 'live', { what: 'the tab to know that nothing comes' });
  }
  await write(5);
  const again = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_PORT: new URL(own.url).port });
  try {
    for (const follower of all) await follower.count(10);
    for (const follower of all) expectAll(follower, 10);
    expect(await metric('rowcast_connections', again)).toBe(1);
  } finally {
    tabs.close();
    await again.stop();
  }
});

test('I2 I3: a tab that begins with old events, and one that leaves, do not disturb the others', async () => {
  await write(3_000);
  const live = follow(tabs.open({ url: gateway.url }).client, channel, 'now');
  await live.live();
  const late = tabs.open({ url: gateway.url });
  const old = follow(late.client, channel, 'start');
  const third = tabs.open({ url: gateway.url });
  await old.count(500);
  const part = follow(third.client, channel, 1_000);
  await part.count(1);
  third.client.close();
  await write(10);
  await old.count(3_010);
  await live.count(10);
  expectAll(old, 3_010);
  expect(live.events.map(({ seq }) => seq)).toEqual(seqs(3_001, 10));
  expect(await metric('rowcast_connections')).toBe(1);
});

test('I7: tabs that are closed leave no lock behind, and no connection', async () => {
  await openTabs(3);
  expect(tabs.locks).toHaveLength(4); // one for each tab, and that of the leader
  tabs.close();
  await until(() => tabs.locks.length === 0, { what: 'the locks to be free' });
  await until(async () => (await metric('rowcast_connections')) === 0, { what: 'the connection to end' });
});

test('a tab that crashes is not read for any more', async () => {
  const [, second] = await openTabs(2);
  if (second === undefined) return;
  await follow(second.tab.client, `${channel}-too`).live();
  expect(await metric('rowcast_subscriptions')).toBe(2);
  second.tab.crash();
  await until(async () => (await metric('rowcast_subscriptions')) === 1, { what: 'its channel to be left' });
});

test('where the leading tab hangs the others connect by themselves', async () => {
  const [first] = await openTabs(1);
  first?.tab.hang();
  await write(3);
  const second = tabs.open({ url: gateway.url });
  const follower = follow(second.client, channel);
  await follower.count(3, 8_000);
  expectAll(follower, 3);
  expect(second.client.transport).toBe('websocket');
});

test('a tab shares only with tabs of its own name', async () => {
  for (const share of ['a', 'a', 'b']) await follow(tabs.open({ url: gateway.url }, share).client, channel).live();
  expect(await metric('rowcast_connections')).toBe(2);
});

test('`share` changes nothing where the platform cannot do it, as Node.js before version 24', async () => {
  const { locks } = (globalThis.navigator ?? {}) as { locks?: unknown };
  for (let client = 1; client <= 2; client += 1) {
    const follower = follow(testClient({ url: gateway.url, share: true }), channel);
    await write(1);
    await follower.count(client);
    expectAll(follower, client);
  }
  expect(await metric('rowcast_connections')).toBe(locks === undefined ? 2 : 1);
});

describe('I5: with tokens', () => {
  let guarded: Gateway;
  const settings = { ...NO_RATES, ROWCAST_JWT_SECRET: SECRET };
  const values = { jwtClockTolerance: 0 };
  const token = (claims: Claims, secret = SECRET) =>
    signWith(Buffer.from(secret), { alg: 'HS256' })({ role: 'service_role', ...claims });

  beforeAll(async () => {
    guarded = await startTestGateway(database.url, settings, values);
  });
  afterAll(() => guarded.stop());

  const open = (makeToken: () => Promise<string>) => {
    const tab = tabs.open({ url: guarded.url, token: makeToken });
    return { tab, follower: follow(tab.client, channel) };
  };

  test('tabs of one principal share; another principal, and the same one with other rights, do not', async () => {
    const who = [{ sub: 'ann' }, { sub: 'ann', jti: '2' }, { sub: 'ann', tenant: 'other' }, { sub: 'bob' }];
    for (const claims of who) await open(() => token(claims)).follower.live();
    expect(await metric('rowcast_connections', guarded)).toBe(3);
  });

  test('when another user logs in in the leading tab, the others are not served with that token', async () => {
    let sub = 'ann';
    const first = open(() => token({ sub }));
    await first.follower.live();
    const second = open(() => token({ sub: 'ann' }));
    await second.follower.live();
    sub = 'bob';
    const { port } = new URL(guarded.url);
    await guarded.stop();
    guarded = await startTestGateway(database.url, { ...settings, ROWCAST_PORT: port }, values);
    await write(3);
    for (const { follower } of [first, second]) await follower.count(3);
    for (const { follower } of [first, second]) expectAll(follower, 3);
    // One for each: they do not share any more.
    await until(async () => (await metric('rowcast_connections', guarded)) === 2, { what: 'two connections' });
  });

  test('the leading tab brings fresh tokens and no other has to; when another user logs in there, another one leads', async () => {
    let sub = 'ann';
    const asked = [0, 0];
    const tabOf = (tab: number) =>
      open(() => {
        asked[tab] = (asked[tab] ?? 0) + 1;
        return token({ sub: tab === 0 ? sub : 'ann', exp: 2 });
      });
    const pair = [tabOf(0)];
    await pair[0]?.follower.live(); // it leads: of two that begin together either may
    pair.push(tabOf(1));
    await pair[1]?.follower.live();
    const [leading, other] = [...asked];
    let written = 0;
    const writeUntil = async (what: string, done: () => boolean | Promise<boolean>) => {
      await until(
        async () => {
          await write(1);
          written += 1;
          return done();
        },
        { what },
      );
      for (const { follower } of pair) await follower.count(written);
    };
    await writeUntil('a token to expire', () => (asked[0] ?? 0) > (leading ?? 0));
    expect(asked[1]).toBe(other);
    for (const { tab } of pair) expect(tab.states).toEqual(['connecting', 'connected']);
    sub = 'bob';
    await writeUntil('two connections', async () => (await metric('rowcast_connections', guarded)) === 2);
    for (const { follower } of pair) expectAll(follower, written);
  });

  test('a token that the gateway refuses ends the client of its own tab alone', async () => {
    const bad = open(() => token({ sub: 'ann' }, 'y'.repeat(32)));
    await until(() => bad.tab.client.state === 'connected' || bad.tab.client.state === 'closed', {
      what: 'the first tab',
    });
    const good = open(() => token({ sub: 'ann' }));
    await good.follower.live();
    expect(bad.tab.client.state).toBe('closed');
    await write(2);
    await good.follower.count(2);
    expectAll(good.follower, 2);
  });

  test('a token that is no JWT is not shared', async () => {
    const { tab } = open(async () => 'opaque');
    await until(() => tab.client.state === 'closed', { what: 'the gateway to refuse it' });
    expect(tab.states).not.toContain('connected');
  });
});
