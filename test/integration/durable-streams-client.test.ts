import { stream as readStream } from '@durable-streams/client';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

/** The client of the protocol, as its authors ship it. */

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  await writer.query(`CREATE TABLE orders (customer text NOT NULL, n int NOT NULL);
                      SELECT rowcast.attach('orders', 'customer')`);
  // Small pages, so that catching up takes many answers.
  gateway = await startTestGateway(database.url, NO_RATES, { pageRows: 50, pageBytes: 4_096 });
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

interface Order {
  readonly customer: string;
  readonly n: number;
}

const urlOf = (customer: string) => `${gateway.url}/v1/streams/orders/${encodeURIComponent(customer)}`;

async function order(customer: string, from: number, to: number, on = writer): Promise<void> {
  await on.query('INSERT INTO orders SELECT $1, n FROM generate_series($2::int, $3::int) n', [customer, from, to]);
}

/** Reads on and on, and records what comes. */
async function follow(customer: string, live: 'long-poll' | 'sse', offset = '-1') {
  const numbers: number[] = [];
  const saved = { offset };
  const response = await readStream<Order>({ url: urlOf(customer), live, offset });
  response.subscribeJson((batch) => {
    numbers.push(...batch.items.map(({ n }) => n));
    saved.offset = batch.offset;
  });
  return { numbers, saved, stop: () => response.cancel() };
}

test('I1 I2 I3: catching up gives every event once and in order, over as many answers as it takes', async () => {
  await order('ann', 1, 2500);
  const response = await readStream<Order>({ url: urlOf('ann') });
  const orders = await response.json();
  expect(orders.map(({ n }) => n)).toEqual(seqs(1, 2500));
  expect(orders[0]).toEqual({ customer: 'ann', n: 1 });
  expect(response.upToDate).toBe(true);

  await order('ann', 2501, 2600);
  const rest = await readStream<Order>({ url: urlOf('ann'), offset: response.offset });
  expect((await rest.json()).map(({ n }) => n)).toEqual(seqs(2501, 100));
});

test('a channel that does not exist, and a place that is gone, are errors of the client', async () => {
  await expect(readStream({ url: `${gateway.url}/v1/streams/nothing/1`, live: false })).rejects.toMatchObject({
    status: 404,
  });
  await order('bob', 1, 10);
  const { offset } = await readStream<Order>({ url: urlOf('bob'), live: false });
  await writer.query(`SELECT rowcast.new_epoch('orders')`);
  for (const live of [false, 'long-poll', 'sse'] as const) {
    await expect(readStream({ url: urlOf('bob'), live, offset })).rejects.toMatchObject({ status: 410 });
  }
});

for (const live of ['long-poll', 'sse'] as const) {
  test(`I9: ${live}: an event comes when it is committed, and a saved offset is where to go on`, async () => {
    const customer = `live ${live} /?&ü`;
    await order(customer, 1, 120);
    const reader = await follow(customer, live);
    await until(() => reader.numbers.length === 120, { what: 'the past' });
    await order(customer, 121, 121);
    await until(() => reader.numbers.length === 121, { what: 'an event of now' });
    reader.stop();

    await order(customer, 122, 300);
    const again = await follow(customer, live, reader.saved.offset);
    await until(() => again.numbers.length === 179, { what: 'what was missed' });
    await order(customer, 301, 310);
    await until(() => again.numbers.length === 189, { what: 'what came after' });
    again.stop();
    expect([...reader.numbers, ...again.numbers]).toEqual(seqs(1, 310));
  });
}

test('I1 I2 I3: 20 readers at once, under load, get every event once and in order', async () => {
  const WRITERS = 3;
  const BATCHES = 120;
  await order('carl', 1, 200);
  const readers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => follow('carl', index % 2 === 0 ? 'long-poll' : 'sse')),
  );
  await Promise.all(
    Array.from({ length: WRITERS }, async (_, index) => {
      const own = await connectWriter(database.url);
      for (let batch = 0; batch < BATCHES; batch += 1) {
        const from = 1000 * (index + 1) + 5 * batch;
        await order('carl', from, from + (batch % 5), own);
      }
      await own.end();
    }),
  );
  const { rows } = await writer.query<{ n: number }>(`SELECT n FROM orders WHERE customer = 'carl' ORDER BY seq`);
  await until(() => readers.every(({ numbers }) => numbers.length >= rows.length), {
    what: 'all of it',
    deadlineMs: 20_000,
  });
  for (const reader of readers) reader.stop();
  for (const { numbers } of readers) expect(numbers).toEqual(rows.map(({ n }) => n));
}, 60_000);
