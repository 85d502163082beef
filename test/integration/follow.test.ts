/** A live collection equals the table: through changes, resets, many pages, and a gateway that comes back. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { type Collection, type FollowOptions, follow, followState } from '../../client/follow/index.js';
import type { LocalGateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

interface Order {
  readonly id: number;
  readonly customer_id: number;
  readonly status: string;
}

describe('follow', () => {
  let database: TestDatabase;
  let writer: pg.Client;
  let gateway: LocalGateway;
  const open: { close(): void }[] = [];

  beforeAll(async () => {
    database = await createDatabase();
    writer = await connectWriter(database.url);
    await writer.query(`CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, status text);
      SELECT rowcast.track('orders', key => 'customer_id')`);
    gateway = await startTestGateway(database.url, NO_RATES);
  });
  afterEach(() => {
    for (const one of open.splice(0)) one.close();
  });
  afterAll(async () => {
    await gateway.stop();
    await writer.end();
    await database.drop();
  });

  function followed(customer: number, options: FollowOptions<Order> = {}, url = gateway.url): Collection<Order> {
    const collection = follow<Order>(testClient({ url }), `orders:${customer}`, options);
    open.push(collection);
    return collection;
  }

  async function equal(collection: Collection<Order>, customer: number): Promise<void> {
    const rows = async () =>
      (await writer.query<Order>('SELECT * FROM orders WHERE customer_id = $1 ORDER BY id', [customer])).rows;
    await until(async () => JSON.stringify([...collection.rows.values()]) === JSON.stringify(await rows()), {
      what: `the collection to equal the table (${collection.status})`,
    });
  }

  test('the rows of the table in the order of the key, live; each change is told once', async () => {
    await writer.query("INSERT INTO orders VALUES (10, 1, 'a'), (9, 1, 'a'), (2, 2, 'a')");
    const told: string[][] = [];
    const collection = followed(1, {
      onChange: ({ changed, removed }) => told.push([...changed, ...removed.map((id) => `-${id}`)]),
    });
    expect(collection.status).toBe('loading');
    await until(() => collection.status === 'live', { what: 'live' });
    expect([...collection.rows.keys()]).toEqual(['9', '10']);
    const before = collection.get();
    expect(collection.get()).toBe(before);
    await writer.query("UPDATE orders SET status = 'b' WHERE id = 9");
    await until(() => told.length === 2, { what: 'the update' });
    await writer.query(
      'BEGIN; UPDATE orders SET customer_id = 1 WHERE id = 2; DELETE FROM orders WHERE id = 10; COMMIT',
    );
    await until(() => told.length === 3, { what: 'the move' });
    expect(told).toEqual([['9', '10'], ['9'], ['2', '-10']]);
    await equal(collection, 1);
    expect(collection.get()).not.toBe(before);
  });

  test('after a TRUNCATE it takes a new snapshot, and tells the difference', async () => {
    await writer.query("INSERT INTO orders VALUES (31, 3, 'a'), (32, 3, 'a')");
    const told: string[][] = [];
    const collection = followed(3, {
      onChange: ({ changed, removed }) => told.push([...changed, ...removed.map((id) => `-${id}`)]),
    });
    await until(() => collection.status === 'live', { what: 'live' });
    await writer.query("BEGIN; TRUNCATE orders; INSERT INTO orders VALUES (31, 3, 'a'), (33, 3, 'a'); COMMIT");
    await until(() => told.length === 2, { what: 'the new snapshot' });
    expect(told[1]).toEqual(['33', '-32']);
    await equal(collection, 3);
  });

  test('100,000 rows: painted from the snapshot in less than 2 s, few bytes for each, and one changed row is one row told', async () => {
    await writer.query(`CREATE TABLE many (id int PRIMARY KEY, customer_id int NOT NULL, status text);
      INSERT INTO many SELECT i, 5, 'status ' || i FROM generate_series(1, 100000) i; ANALYZE many;
      SELECT rowcast.track('many', key => 'customer_id')`);
    setFlagsFromString('--expose-gc');
    const collect: () => void = runInNewContext('gc');
    const held = () => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    const told: number[] = [];
    const before = held();
    const began = fairNow();
    const collection = follow<Order>(testClient({ url: gateway.url }), 'many:5', {
      onChange: ({ changed }) => told.push(changed.length),
    });
    open.push(collection);
    await until(() => collection.status === 'live', { what: 'live' });
    const took = fairNow() - began;
    console.log(`100,000 rows: live after ${Math.round(took)} ms`);
    expect(took).toBeLessThan(2_000);
    expect(collection.rows.size).toBe(100_000);
    await writer.query("UPDATE many SET status = 'b' WHERE id = 50000");
    await until(() => told.length === 2, { what: 'the update' });
    expect(told).toEqual([100_000, 1]);
    // The rows, and what the gateway, in the same process, keeps of the requests for them.
    const rows = (held() - before) / 100_000;
    console.log(`${Math.round(rows)} bytes for a row`);
    expect(rows).toBeLessThan(500);
  });

  test('without a gateway it is stale, and goes on when one is there again', async () => {
    const second = await startTestGateway(database.url, NO_RATES);
    const port = new URL(second.url).port;
    await writer.query("INSERT INTO orders VALUES (41, 4, 'a')");
    const collection = followed(4, {}, second.url);
    await until(() => collection.status === 'live', { what: 'live' });
    await second.stop();
    await until(() => collection.status === 'stale', { what: 'stale' });
    await writer.query("UPDATE orders SET status = 'b' WHERE id = 41");
    const third = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_PORT: port });
    await equal(collection, 4);
    collection.close();
    await third.stop();
  });

  test('a state of one’s own; a misspelt option is an error', async () => {
    await writer.query("INSERT INTO orders VALUES (61, 6, 'a')");
    const client = testClient({ url: gateway.url });
    const store = followState<number, Order>(client, 'orders:6', {
      load: async () => {
        const { rows } = await writer.query<{ state: number; position: string }>(
          "SELECT count(*)::int AS state, rowcast.position('orders:6') AS position FROM orders WHERE customer_id = 6",
        );
        return rows[0] ?? { state: 0, position: '' };
      },
      apply: (count, { type }) => count + (type === 'insert' ? 1 : type === 'delete' ? -1 : 0),
    });
    open.push(store);
    await until(() => store.get().data === 1, { what: 'the snapshot' });
    await writer.query("INSERT INTO orders VALUES (62, 6, 'a')");
    await until(() => store.get().data === 2, { what: 'the insert' });
    const misspelt = { onchange: () => {} } as unknown as FollowOptions<Order>;
    expect(() => follow(client, 'orders:6', misspelt)).toThrow(TypeError);
    client.close();
    const late = follow(client, 'orders:6');
    await until(() => late.status === 'failed', { what: 'the closed client to be noticed' });
    late.close();
  });
});
