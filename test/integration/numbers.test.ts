/** The option `numbers` of the client: every digit of a row, over every transport, and between tabs. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type pg from 'pg';
import { losslessJson } from '../../client/ground/lossless.js';
import { createClient } from '../../client/node.js';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { metricOf } from '../support/metrics.js';
import { Tabs } from '../support/tabs.js';
import { connectWriter } from '../support/writer.js';

const LONG = '1234567890123456789';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
let tabs: Tabs;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  await writer.query(`
    CREATE TABLE amounts (id int NOT NULL, big bigint, price numeric, data jsonb);
    SELECT rowcast.attach('amounts', 'id');
    INSERT INTO amounts VALUES (1, ${LONG}, ${LONG}.5, '{"deep": [${LONG}, 7]}')`);
  gateway = await startTestGateway(database.url, NO_RATES);
});
beforeEach(() => {
  tabs = new Tabs();
});
afterEach(() => tabs.close());
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

const rowWith = (big: unknown, price: unknown) => ({ id: 1, big, price, data: { deep: [big, 7] } });
const rounded = rowWith(Number(LONG), Number(LONG));
const rows = { string: rowWith(LONG, `${LONG}.5`), bigint: rowWith(BigInt(LONG), `${LONG}.5`), number: rounded };

test.each(['string', 'bigint', 'number'] as const)(
  'as %s, over every transport and in polling mode',
  async (numbers) => {
    const clients = [
      testClient({ url: gateway.url, numbers }),
      testClient({ url: gateway.url, numbers, transports: ['sse'] }),
      testClient({ url: gateway.url, numbers, transports: ['sse', 'poll'] }),
      testClient({ url: gateway.url, numbers, transports: ['poll'] }),
      testClient({ url: gateway.url, numbers, share: true }),
    ];
    const followers = clients.map((client) => follow(client, 'amounts:1', 'start'));
    for (const follower of followers) await follower.count(1);
    for (const { events } of followers) expect(events[0]?.row).toEqual(rows[numbers]);
  },
);

test('tabs share a connection with those that want the same', async () => {
  const open = (numbers: 'string' | 'bigint') => tabs.open({ url: gateway.url, numbers, json: losslessJson(numbers) });
  const opened = [open('bigint'), open('bigint'), open('string')];
  const followers = opened.map(({ client }) => follow(client, 'amounts:1', 'start'));
  for (const follower of followers) await follower.count(1);
  expect(followers.map(({ events }) => events[0]?.row)).toEqual([rows.bigint, rows.bigint, rows.string]);
  expect(await metricOf(gateway.url, 'rowcast_connections')).toBe(2);
});

test('another value is refused', () => {
  expect(() => createClient({ url: gateway.url, numbers: 'text' as 'string' })).toThrow('numbers: one of');
});
