import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { Pool } from 'pg';
import type { Client } from '../../client/index.js';
import type { Gateway } from '../../server/gateway.js';
import { packageRoot } from '../../server/ground/package-root.js';
import { testClient } from '../support/client.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { follow } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { blocksOf } from '../support/page.js';
import { killAll, type RowcastProcess, runScript } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
let folder: string;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  gateway = await startTestGateway(database.url);
  folder = await mkdtemp(join(tmpdir(), 'rowcast-recipes-'));
});
afterAll(async () => {
  killAll();
  await gateway.stop();
  await writer.end();
  await rm(folder, { recursive: true });
  await database.drop();
});

const sqlOf = (page: string) => blocksOf(page).filter(({ language }) => language === 'sql');

/** A module of a page. */
async function load(page: string, file: string): Promise<Record<string, (...given: never[]) => Promise<unknown>>> {
  const path = join(folder, file);
  await writeFile(path, blocksOf(page).find((block) => block.file === file)?.text ?? '');
  return import(path);
}

test('docs/use-cases.md: a trigger makes events of every change of a table that is updated in place', async () => {
  for (const { text } of sqlOf('docs/use-cases.md')) await writer.query(text);
  const follower = follow(testClient({ url: gateway.url }), 'order-events:7');
  await follower.count(3);
  const printed = follower.events.map(({ seq, type, row }) => `#${seq}  ${type}  ${JSON.stringify(row.data)}`);
  const shown = blocksOf('docs/use-cases.md').find(({ language }) => language === 'text')?.text ?? '';
  const loose = (line: string) => line.replaceAll(' ', '').replace(/null$/, '');
  expect(printed.map(loose)).toEqual(shown.trimEnd().split('\n').map(loose));

  // An order that changes hands leaves one channel and appears in the other.
  await writer.query(`INSERT INTO orders VALUES (2, 7, 'placed', NULL)`);
  await writer.query('UPDATE orders SET customer_id = 8 WHERE order_id = 2');
  const other = follow(testClient({ url: gateway.url }), 'order-events:8');
  await Promise.all([follower.count(5), other.count(1)]);
  expect(follower.events.at(-1)).toMatchObject({ type: 'removed', row: { order_id: 2 } });
  expect(other.events[0]).toMatchObject({ type: 'stored', row: { order_id: 2 } });
  await writer.query('DELETE FROM orders');
});

test('I5: docs/reference/access.md: a guard and a policy let the right users read, and nothing else changes', async () => {
  const page = readFileSync(join(packageRoot(), 'docs/reference/access.md'), 'utf8');
  const [, own = ''] = page.split('## A table of your own');
  const [section = ''] = own.split('\n## ');
  for (const [, sql = ''] of section.matchAll(/```sql\n([\s\S]*?)```/g)) await writer.query(sql);
  await writer.query(
    `INSERT INTO shop_orders VALUES (1, 'ann'), (2, 'bob'); INSERT INTO rooms VALUES ('attic', 'ann')`,
  );
  const mayRead = async (sub: string, channel: string) => {
    await writer.query('BEGIN');
    await writer.query(`SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)`, [
      JSON.stringify({ sub }),
    ]);
    const { rows } = await writer.query<{ yes: boolean }>('SELECT rowcast.can_read($1) AS yes', [channel]);
    await writer.query('ROLLBACK');
    return rows[0]?.yes;
  };
  const channels = ['order-log:1', 'order-log:2', 'message:lobby', 'message:user-ann', 'message:else', 'chat:attic'];
  const readBy = async (sub: string) => {
    const found: string[] = [];
    for (const channel of channels) if (await mayRead(sub, channel)) found.push(channel);
    return found;
  };
  expect(await readBy('ann')).toEqual(['order-log:1', 'message:lobby', 'message:user-ann', 'chat:attic']);
  expect(await readBy('bob')).toEqual(['order-log:2', 'message:lobby']);
  // The shop itself notices nothing of it.
  const secured = await writer.query<{ relrowsecurity: boolean }>(
    `SELECT relrowsecurity FROM pg_class WHERE oid = 'shop_orders'::regclass`,
  );
  expect(secured.rows).toEqual([{ relrowsecurity: false }]);
});

interface Order {
  readonly order_id: string | number;
  readonly status: string;
}
interface Snapshot {
  readonly orders: Order[];
  readonly position: string;
}

const plain = (orders: Iterable<Order>) =>
  [...orders].map(({ order_id, status }) => `${order_id} ${status}`).sort((a, b) => a.localeCompare(b));

test('I2: docs/guides/snapshot-and-live.md: a snapshot with its position, and what follows it, are the table', async () => {
  const [transaction = '', grants = ''] = sqlOf('docs/guides/snapshot-and-live.md').map(({ text }) => text);
  const [, , empty] = (await writer.query(transaction)) as unknown as pg.QueryResult[];
  expect(empty?.rows[0]?.position).toMatch(/^[0-9a-f]{6}\.\d+$/);
  await writer.query(grants.replace('CREATE ROLE shop_api LOGIN;', '').replaceAll('shop_api', 'service_role'));

  const onConnect = async (client: pg.ClientBase) => void (await client.query('SET ROLE service_role'));
  const pool = new Pool({ connectionString: database.url, application_name: TEST_SESSION, max: 4, onConnect });
  const { loadOrders } = await load('docs/guides/snapshot-and-live.md', 'load.mjs');
  const { followOrders } = await load('docs/guides/snapshot-and-live.md', 'follow.mjs');
  let writing = true;
  const writes = (async () => {
    for (let order = 100; writing || order < 160; order += 1) {
      await writer.query(`INSERT INTO orders VALUES ($1, 7, 'placed', NULL)`, [order]);
      const victim = 100 + ((order * 7) % (order - 99));
      if (order % 3 === 0) await writer.query('DELETE FROM orders WHERE order_id = $1', [victim]);
      else await writer.query(`UPDATE orders SET status = 'paid' WHERE order_id = $1`, [victim]);
    }
  })();
  const clients: Client[] = [];
  const pages: Map<number, Order>[] = [];
  for (let page = 0; page < 20; page += 1) {
    const client = testClient({ url: gateway.url });
    clients.push(client);
    const show = (orders: Map<number, Order>) => {
      pages[page] = orders;
    };
    const loaded = (customer: number) => (loadOrders as (...given: unknown[]) => Promise<Snapshot>)(pool, customer);
    await (followOrders as (...given: unknown[]) => Promise<void>)(client, 7, loaded, show);
  }
  // After a reset the page loads again by itself.
  await writer.query('TRUNCATE order_events');
  writing = false;
  await writes;
  await writer.query(`INSERT INTO orders VALUES (1000, 7, 'last', NULL)`);
  const { rows } = await writer.query<Order>('SELECT order_id, status FROM orders');
  const complete = () => pages.every((orders) => orders.has(1000));
  await until(complete, { deadlineMs: 20_000, what: 'every page to show the last order' });
  for (const orders of pages) expect(plain(orders.values())).toEqual(plain(rows));
  for (const client of clients) client.close();
  await pool.end();
});

test('I2, I3: docs/examples/consumer.mjs makes one invoice for each paid order, though it is killed again and again', async () => {
  const script = readFileSync(join(packageRoot(), 'docs/examples/consumer.mjs'), 'utf8');
  await writer.query('CREATE TABLE coffees (order_id bigint NOT NULL, event_type text NOT NULL)');
  await writer.query(`SELECT rowcast.attach('coffees', 'order_id')`);
  const env = { DATABASE_URL: database.url, ROWCAST_URL: gateway.url, PGAPPNAME: TEST_SESSION };
  const start = () => runScript(script, ['coffees:7'], env);
  const insert = `INSERT INTO coffees SELECT 7, CASE i % 3 WHEN 0 THEN 'paid' ELSE 'stirred' END FROM generate_series(1, 300) i`;
  const printed = (consumer: RowcastProcess, text: string) =>
    Promise.race([
      until(() => consumer.output().includes(text), { deadlineMs: 20_000, what: text }),
      consumer.exited.then((code) => Promise.reject(new Error(`ended with ${code}: ${consumer.errors()}`))),
    ]);
  await writer.query(insert);
  for (let round = 0; round < 2; round += 1) {
    const consumer = await start();
    await printed(consumer, round === 0 ? '\n20 ' : '\n60 ');
    consumer.child.kill('SIGKILL');
    await consumer.exited;
  }
  await writer.query(insert);
  const consumer = await start();
  await printed(consumer, '\n600 ');
  const { rows } = await writer.query<{ seq: string }>('SELECT seq FROM invoices ORDER BY seq');
  expect(rows.map(({ seq }) => Number(seq))).toEqual(Array.from({ length: 200 }, (_, index) => 3 * index + 3));

  // A second one of the same name stops instead of repeating the work, when both get the same event.
  const second = await start();
  const subscribed = '"coffees:7","head":600,"subscribers":2';
  const channels = async () => (await fetch(`${gateway.url}/v1/channels`)).text();
  await until(async () => (await channels()).includes(subscribed), { what: 'both to be subscribed' });
  await writer.query(`INSERT INTO coffees VALUES (7, 'paid')`);
  const stopped = await Promise.race([consumer.exited, second.exited]);
  expect(stopped).toBe(1);
  expect(consumer.errors() + second.errors()).toContain('another process consumes coffees:7');
  expect((await writer.query('SELECT 1 FROM invoices WHERE seq = 601')).rowCount).toBe(1);
  for (const { child } of [consumer, second]) child.kill('SIGKILL');
  await Promise.all([consumer.exited, second.exited]);
}, 60_000);
