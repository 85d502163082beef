import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Client, ClientOptions } from '../../client/index.js';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { Tabs } from '../support/tabs.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
let tabs: Tabs;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
  writer = await connectWriter(database.url);
});
beforeEach(() => {
  tabs = new Tabs();
});
afterEach(() => tabs.close());
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

const publish = (channel: string, count: number) =>
  writer.query(`SELECT rowcast.publish($1, 'note', to_jsonb(i)) FROM generate_series(1, $2::int) i`, [channel, count]);

async function subscriptions(): Promise<number> {
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  return Number(/^rowcast_subscriptions(?:\{[^}]*\})? (\d+)/m.exec(text)?.[1]);
}

const direct = (options: Omit<ClientOptions, 'url'>) => () => testClient({ url: gateway.url, ...options });
/** A network that lets no event stream through. */
const withoutStreams: typeof fetch = async (input, init) =>
  String(input).includes('/v1/sse') ? Promise.reject(new TypeError('blocked')) : fetch(input, init);

const WAYS: Record<string, () => Client> = {
  websocket: direct({ transports: ['websocket'] }),
  sse: direct({ transports: ['sse'] }),
  'long poll': direct({ transports: ['sse', 'poll'], fetch: withoutStreams }),
  'polling on an interval': direct({ transports: ['poll'], polling: { interval: 50 } } as never),
  'another tab': () => {
    tabs.open({ url: gateway.url }).client.subscribe('message:elsewhere', { onEvent() {} });
    return tabs.open({ url: gateway.url }).client;
  },
};

describe('I1 I2 I3: several subscriptions of one client to one channel', () => {
  test.each(Object.keys(WAYS))('over %s', async (way) => {
    const channel = `message:several-${way.replaceAll(' ', '-')}`;
    await publish(channel, 10);
    const client = WAYS[way]?.();
    if (client === undefined) throw new Error(way);
    const live = follow(client, channel, 'now');
    await live.live();
    await publish(channel, 5);
    await live.count(5);
    const [all, some, abandoned] = [
      follow(client, channel, 'start'),
      follow(client, channel, 12),
      follow(client, channel, 'start'),
    ];
    await until(() => abandoned.events.length > 0, { what: 'the first event' });
    abandoned.subscription.close();
    const until20 = abandoned.events.length;
    await publish(channel, 5);
    for (const [follower, first] of [
      [live, 11],
      [all, 1],
      [some, 13],
    ] as const) {
      await follower.count(21 - first);
      expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(first, 21 - first));
      expect([follower.resets, follower.subscription.state]).toEqual([[], 'live']);
    }
    expect(abandoned.events).toHaveLength(until20);
    if (way === 'websocket') expect(await subscriptions()).toBe(1);
    client.close();
  });
});
