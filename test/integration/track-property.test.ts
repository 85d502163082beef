/**
 * Whatever is done to a tracked table, by whatever transaction, and whenever followers join, leave and come back, over
 * whatever transport: at a quiet moment the collection of each equals the rows of its channel.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { type Collection, follow } from '../../client/follow/index.js';
import type { LocalGateway } from '../../server/gateway.js';
import { runs, seed } from '../property/seed.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { makeRandom, type Random } from '../support/random.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const CUSTOMERS = [1, 2, 3];
const WRITERS = 3;
const ROUNDS = runs(6);
const TRANSACTIONS = 12;
const TRANSPORTS = ['websocket', 'sse', 'poll'] as const;

const random = makeRandom(seed('track-property'));
let database: TestDatabase;
let admin: pg.Client;
let writers: pg.Client[];
let gateway: LocalGateway;

beforeAll(async () => {
  database = await createDatabase();
  admin = await connectWriter(database.url);
  writers = await Promise.all(Array.from({ length: WRITERS }, () => connectWriter(database.url)));
  await admin.query(`
    CREATE TABLE customers (id int PRIMARY KEY);
    INSERT INTO customers SELECT generate_series(1, 3);
    CREATE TABLE orders (id int, region int, customer int REFERENCES customers ON DELETE CASCADE, n int, PRIMARY KEY (id, region))
      PARTITION BY LIST (region);
    CREATE TABLE orders_0 PARTITION OF orders FOR VALUES IN (0);
    CREATE TABLE orders_1 PARTITION OF orders FOR VALUES IN (1);
    CREATE TABLE orders_more (LIKE orders);
    -- The application's own: what is inserted with a negative n is written again when the transaction ends.
    CREATE FUNCTION settle() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN UPDATE orders SET n = 0 WHERE id = NEW.id AND region = NEW.region; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER settle AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
      WHEN (NEW.n < 0) EXECUTE FUNCTION settle();
    SELECT rowcast.track('orders', key => 'customer');
    SELECT rowcast.track('orders', name => 'everything', columns => ARRAY['id', 'region', 'customer', 'n'], old => 'none')`);
  gateway = await startTestGateway(database.url, NO_RATES);
});
afterAll(async () => {
  await gateway.stop();
  await Promise.all([admin, ...writers].map((client) => client.end()));
  await database.drop();
});

/** One statement; some fail, as those of applications do. */
function statement(r: Random): string {
  const id = r.int(1, 12);
  const region = r.int(0, 1);
  const customer = r.chance(0.1) ? 'NULL' : r.pick(CUSTOMERS);
  const n = r.int(-2, 5);
  return r.pick([
    `INSERT INTO orders VALUES (${id}, ${region}, ${customer}, ${n}) ON CONFLICT DO NOTHING`,
    `INSERT INTO orders VALUES (${id}, ${region}, ${customer}, ${n}) ON CONFLICT (id, region) DO UPDATE SET n = excluded.n`,
    `INSERT INTO orders_${region} VALUES (${id}, ${region}, ${customer}, ${n}) ON CONFLICT DO NOTHING`,
    `INSERT INTO orders SELECT i, ${region}, ${customer}, i FROM generate_series(100, 130) i ON CONFLICT DO NOTHING`,
    `UPDATE orders SET n = n + ${n} WHERE id = ${id}`,
    `UPDATE orders SET n = ${n}`,
    `UPDATE orders SET customer = ${customer} WHERE id % 3 = ${id % 3}`,
    `UPDATE orders SET region = 1 - region WHERE id = ${id}`,
    `UPDATE orders SET id = ${r.int(1, 12)} WHERE id = ${id}`,
    `UPDATE orders_${region} SET n = ${n} WHERE id = ${id}`,
    `DELETE FROM orders WHERE id = ${id}`,
    `DELETE FROM orders WHERE id >= 100`,
    `MERGE INTO orders o USING (VALUES (${id}, ${region}, ${n})) v(id, region, n) ON o.id = v.id AND o.region = v.region
       WHEN MATCHED AND v.n < 1 THEN DELETE WHEN MATCHED THEN UPDATE SET n = v.n
       WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.region, ${customer}, v.n)`,
    `DELETE FROM customers WHERE id = ${id % 3}`,
    `INSERT INTO customers VALUES (1), (2), (3) ON CONFLICT DO NOTHING`,
    'SAVEPOINT s',
    'ROLLBACK TO s',
    'SET CONSTRAINTS ALL IMMEDIATE',
    'SELECT pg_sleep(0.003)',
  ]);
}

async function transaction(writer: pg.Client, r: Random): Promise<void> {
  try {
    await writer.query(r.chance(0.2) ? 'BEGIN ISOLATION LEVEL REPEATABLE READ' : 'BEGIN');
    for (let left = r.int(1, 6); left > 0; left--) await writer.query(statement(r));
    await writer.query(r.chance(0.8) ? 'COMMIT' : 'ROLLBACK');
  } catch {
    await writer.query('ROLLBACK');
  }
}

/** What no trigger for each row sees. */
async function ddl(r: Random): Promise<void> {
  const what = r.pick([
    'TRUNCATE orders',
    'TRUNCATE orders_1',
    `CREATE TABLE IF NOT EXISTS orders_more (LIKE orders);
     INSERT INTO orders_more VALUES (${r.int(200, 220)}, 2, 1, 0) ON CONFLICT DO NOTHING; ALTER TABLE orders ATTACH PARTITION orders_more FOR VALUES IN (2)`,
    'ALTER TABLE orders DETACH PARTITION orders_more',
    'DROP TABLE orders_more',
    'ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text',
    'ALTER TABLE orders DROP COLUMN IF EXISTS note',
  ]);
  await admin.query(`BEGIN; SET LOCAL lock_timeout = '2s'; ${what}; COMMIT`).catch(() => admin.query('ROLLBACK'));
  await admin.query('SELECT rowcast.renew_tracks()');
}

type Row = Record<string, unknown> & { readonly id: number; readonly region: number };

function join(r: Random): { readonly collection: Collection<Row>; readonly where: string; leave(): void } {
  const customer = r.chance(0.3) ? null : r.pick(CUSTOMERS);
  const client = testClient({ url: gateway.url, transports: [r.pick(TRANSPORTS)] });
  const channel = customer === null ? 'everything:all' : `orders:${customer}`;
  const collection = follow<Row>(client, channel);
  const leave = () => {
    collection.close();
    client.close();
  };
  return { collection, where: customer === null ? 'true' : `customer = ${customer}`, leave };
}

const textOf = (rows: Iterable<Row>) =>
  [...rows]
    .sort((a, b) => a.id - b.id || a.region - b.region)
    .map(({ id, region, customer, n }) => `${id} ${region} ${customer} ${n}`)
    .join('\n');

test('a collection equals its table, whatever happens', async () => {
  let followers = [join(random), join(random), join(random)];
  for (let round = 0; round < ROUNDS; round++) {
    const r = random.branch(`round ${round}`);
    const writing = writers.map(async (writer, index) => {
      const own = r.branch(`writer ${index}`);
      for (let left = TRANSACTIONS; left > 0; left--) await transaction(writer, own);
    });
    const own = r.branch('others');
    if (own.chance(0.5)) await ddl(own);
    const gone = own.int(0, followers.length - 1);
    followers[gone]?.leave();
    followers = [...followers.filter((_, index) => index !== gone), join(own)];
    await Promise.all(writing);
    for (const { collection, where } of followers) {
      let table = '';
      const equal = async () => {
        table = textOf((await admin.query<Row>(`SELECT * FROM orders WHERE ${where}`)).rows);
        return collection.status === 'live' && textOf(collection.rows.values()) === table;
      };
      await until(equal, { what: `a collection to be equal (round ${round})` }).catch((error: unknown) => {
        expect(textOf(collection.rows.values())).toBe(table);
        throw error;
      });
    }
    expect((await admin.query('SELECT FROM rowcast.changes')).rowCount).toBe(0);
  }
  for (const { leave } of followers) leave();
}, 120_000);
