/** What docs/operations/writers.md says that attach costs. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/until.js';
import { connectWriter, processId } from '../support/writer.js';

let database: TestDatabase;
let [first, second, watcher]: pg.Client[] = [];

beforeEach(async () => {
  database = await createDatabase();
  first = await connectWriter(database.url);
  second = await connectWriter(database.url);
  watcher = await connectWriter(database.url);
  await watcher.query(
    `CREATE TABLE orders (order_id int NOT NULL, note text); SELECT rowcast.attach('orders', 'order_id')`,
  );
});
afterEach(async () => {
  for (const client of [first, second, watcher]) await client?.end();
  await database.drop();
});

const insert = (client: pg.Client | undefined, ...keys: number[]) =>
  (client as pg.Client).query(
    `INSERT INTO orders SELECT key FROM unnest($1::int[]) WITH ORDINALITY u(key, nth) ORDER BY nth`,
    [keys],
  );

const waits = (client: pg.Client | undefined) =>
  until(
    async () => {
      const sql = `SELECT cardinality(pg_blocking_pids($1)) > 0 AS waits`;
      return (
        (await (watcher as pg.Client).query<{ waits: boolean }>(sql, [processId(client as pg.Client)])).rows[0]
          ?.waits === true
      );
    },
    { deadlineMs: 10_000, what: 'the writer to wait' },
  );

test('a writer of a channel waits until the one before it has committed, and no other does', async () => {
  await first?.query('BEGIN');
  await insert(first, 1);
  await insert(watcher, 2);
  const later = insert(second, 1);
  await waits(second);
  await first?.query('COMMIT');
  await later;
});

test('keys in opposite order deadlock, and one of both is told so', async () => {
  await first?.query('BEGIN');
  await second?.query('BEGIN');
  await insert(first, 1);
  await insert(second, 2);
  const ends = Promise.allSettled([insert(first, 2), insert(second, 1)]);
  const refused = (await ends).filter((end) => end.status === 'rejected');
  expect(refused.map(({ reason }) => (reason as pg.DatabaseError).code)).toEqual(['40P01']);
});

test('in the order of the keys one waits for the other, and none deadlocks', async () => {
  await first?.query('BEGIN');
  await second?.query('BEGIN');
  await insert(first, 1);
  const later = insert(second, 1, 2);
  await waits(second);
  await insert(first, 2);
  await first?.query('COMMIT');
  await later;
  await second?.query('COMMIT');
  const { rows } =
    (await watcher?.query('SELECT order_id, max(seq)::int AS head FROM orders GROUP BY 1 ORDER BY 1')) ?? {};
  expect(rows).toEqual([1, 2].map((order_id) => ({ order_id, head: 2 })));
});

test('channels that are locked first, in order, do not deadlock either', async () => {
  await insert(watcher, 1, 2);
  const lock = `SELECT FROM rowcast.channels c JOIN rowcast.streams s USING (stream_id)
    WHERE s.name = 'orders' AND c.key IN ('1', '2') ORDER BY c.key FOR NO KEY UPDATE OF c`;
  await first?.query(`BEGIN; ${lock}`);
  const later = second?.query(`BEGIN; ${lock}; INSERT INTO orders VALUES (1), (2); COMMIT`);
  await waits(second);
  await insert(first, 2, 1);
  await first?.query('COMMIT');
  await later;
});
