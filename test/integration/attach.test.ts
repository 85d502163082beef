import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { connectWriter } from '../support/writer.js';

describe.each(clusters())('attach on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let writer: pg.Client;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
  });
  beforeEach(async () => {
    await writer.query(`
      DROP TABLE IF EXISTS "Odd name", orders;
      DELETE FROM rowcast.streams WHERE name NOT IN ('message', 'execution', 'venture');
      CREATE TABLE orders (shop int NOT NULL, item text, tags text[], id bigserial PRIMARY KEY)`);
  });
  afterAll(async () => {
    await writer.end();
    await database.drop();
  });

  const attach = async (...values: string[]) => {
    const { rows } = await writer.query<{ stream: string }>(
      `SELECT rowcast.attach(${values.map((_, index) => `$${index + 1}`).join(', ')}) AS stream`,
      values,
    );
    return rows[0]?.stream;
  };

  test('numbers the rows that are there, and goes on from them', async () => {
    await writer.query(`INSERT INTO orders (shop, item) VALUES (1, 'a'), (2, 'b'), (1, 'c')`);
    expect(await attach('orders', 'shop')).toBe('orders');
    await writer.query(`INSERT INTO orders (shop, item) VALUES (1, 'd'), (2, 'e')`);
    const { rows } = await writer.query('SELECT shop, item, seq::int FROM orders ORDER BY shop, seq');
    expect(rows).toEqual([
      { shop: 1, item: 'a', seq: 1 },
      { shop: 1, item: 'c', seq: 2 },
      { shop: 1, item: 'd', seq: 3 },
      { shop: 2, item: 'b', seq: 1 },
      { shop: 2, item: 'e', seq: 2 },
    ]);
  });

  test('takes any name of a table and column', async () => {
    await writer.query(`CREATE TABLE "Odd name" ("The ""key""" text NOT NULL)`);
    expect(await attach('"Odd name"', 'The "key"', 'odd')).toBe('odd');
    await writer.query(`INSERT INTO "Odd name" VALUES ('x''y'), ('x''y')`);
    const { rows } = await writer.query('SELECT max(seq)::int AS head FROM "Odd name"');
    expect(rows).toEqual([{ head: 2 }]);
    await writer.query(`SELECT rowcast.detach('odd')`);
  });

  test('says what is wrong and how to mend it, and changes nothing', async () => {
    await writer.query('ALTER TABLE orders ALTER COLUMN shop DROP NOT NULL');
    await expect(attach('orders', 'shop')).rejects.toMatchObject({
      code: '23502',
      hint: 'ALTER TABLE public.orders ALTER COLUMN shop SET NOT NULL;',
    });
    await expect(attach('orders', 'nix')).rejects.toMatchObject({ code: '42703' });
    await expect(attach('orders', 'tags')).rejects.toMatchObject({ code: '42804' });
    await expect(attach('rowcast.migrations', 'name')).rejects.toMatchObject({ code: '42809' });
    await expect(attach('pg_stat_activity', 'pid')).rejects.toMatchObject({ code: '42809' });
    await writer.query('CREATE TEMP TABLE passing (key int NOT NULL)');
    await expect(attach('passing', 'key')).rejects.toMatchObject({ code: '42809' });
    await writer.query('ALTER TABLE orders FORCE ROW LEVEL SECURITY');
    await expect(attach('orders', 'id')).rejects.toMatchObject({ code: '55000' });
    await writer.query('ALTER TABLE orders NO FORCE ROW LEVEL SECURITY');
    await expect(attach('orders', 'item', 'message')).rejects.toMatchObject({ code: '23502' });
    const { rows } = await writer.query(
      `SELECT 1 FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'seq'`,
    );
    expect(rows).toEqual([]);
  });

  test('does not wake the triggers of the table for the rows that are there', async () => {
    await writer.query(`
      INSERT INTO orders (shop) VALUES (1), (1);
      CREATE OR REPLACE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'append-only'; END $$;
      CREATE TRIGGER forbid BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION forbid()`);
    expect(await attach('orders', 'shop')).toBe('orders');
    await expect(writer.query(`UPDATE orders SET item = 'x'`)).rejects.toThrow('append-only');
  });

  test('run again after a rename it keeps the numbering', async () => {
    await attach('orders', 'shop');
    await writer.query('INSERT INTO orders (shop) VALUES (1)');
    await writer.query('BEGIN; ALTER TABLE orders RENAME COLUMN shop TO store; ALTER TABLE orders RENAME TO sales');
    expect(await attach('sales', 'store')).toBe('orders');
    await writer.query('COMMIT');
    await writer.query('INSERT INTO sales (store) VALUES (1)');
    const { rows } = await writer.query('SELECT max(seq)::int AS head FROM sales');
    expect(rows).toEqual([{ head: 2 }]);
    await writer.query('ALTER TABLE sales RENAME TO orders');
  });

  test('detach leaves the table as it was', async () => {
    const columns = async () =>
      (await writer.query(`SELECT column_name FROM information_schema.columns WHERE table_name = 'orders' ORDER BY 1`))
        .rows;
    const before = await columns();
    await attach('orders', 'shop');
    await writer.query(`INSERT INTO orders (shop) VALUES (1); SELECT rowcast.detach('orders')`);
    await writer.query('INSERT INTO orders (shop) VALUES (1)');
    expect(await columns()).toEqual(before);
    const { rows } = await writer.query(`SELECT tgname FROM pg_trigger WHERE tgrelid = 'orders'::regclass`);
    expect(rows).toEqual([]);
    await attach('orders', 'shop');
    await writer.query(`DROP TABLE orders; SELECT rowcast.detach('orders')`);
    await expect(writer.query(`SELECT rowcast.detach('orders')`)).rejects.toMatchObject({ code: '42704' });
  });

  test('publish needs no table', async () => {
    const { rows } = await writer.query(`SELECT rowcast.publish('message:a:b', 'greeting', '{"n":1}') AS seq`);
    expect(rows).toEqual([{ seq: '1' }]);
    await expect(writer.query(`SELECT rowcast.publish('lobby', 'greeting')`)).rejects.toMatchObject({
      hint: 'Write message:<key>, for example message:lobby.',
    });
  });
});
