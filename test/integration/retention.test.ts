import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Logger } from '../../server/ground/logger.js';
import { Retention } from '../../server/postgres/retention.js';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { follow, seqs } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter, processId } from '../support/writer.js';

/** Days ago, the oldest first: the events of one channel. */
type Ages = readonly number[];

interface Left {
  readonly seqs: number[];
  readonly floor: number;
}

describe.each(clusters())('pruning on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let writer: pg.Client;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
  });
  beforeEach(async () => {
    await writer.query(`
      DROP TABLE IF EXISTS orders;
      DELETE FROM rowcast.streams WHERE name = 'orders';
      CREATE TABLE orders (shop int NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), note text, placed date);
      SELECT rowcast.attach('orders', 'shop')`);
  });
  afterAll(async () => {
    await writer.end();
    await database.drop();
  });

  const insert = (shop: number, ages: Ages) =>
    writer.query(
      `INSERT INTO orders (shop, created_at) SELECT $1, now() - make_interval(days => age)
         FROM unnest($2::int[]) WITH ORDINALITY a(age, at) ORDER BY at`,
      [shop, ages],
    );
  const prune = async (policy: string, on = writer) =>
    Number((await on.query<{ n: string }>(`SELECT rowcast.prune('orders', ${policy}) AS n`)).rows[0]?.n);
  const left = async (shop: number): Promise<Left | undefined> =>
    (
      await writer.query<Left>(
        `SELECT ARRAY(SELECT seq::int FROM orders WHERE shop = $1 ORDER BY seq) AS seqs, floor::int AS floor
           FROM rowcast.channels JOIN rowcast.streams USING (stream_id) WHERE name = 'orders' AND key = $1::text`,
        [shop],
      )
    ).rows[0];

  test.each<[string, Ages, number[]]>([
    [`keep => '30 days'`, [50, 40, 20, 10], [3, 4]],
    [`keep => '30 days'`, [50, 20, 40, 10], [2, 3, 4]], // an old one behind a young one stays: no holes
    [`keep => '30 days'`, [20, 10], [1, 2]],
    [`keep => '30 days'`, [50, 40], []],
    ['keep_rows => 3', [50, 40, 20, 10], [2, 3, 4]],
    ['keep_rows => 0', [50, 40], []],
    [`keep => '30 days', keep_rows => 3`, [50, 40, 20, 10], [2, 3, 4]],
    [`keep => '30 days', keep_rows => 1`, [50, 40, 20, 10], [3, 4]],
  ])('%s of events that are %j days old keeps %j, always a prefix goes', async (policy, ages, kept) => {
    await insert(1, ages);
    await insert(2, [1]);
    expect(await prune(policy)).toBe(ages.length - kept.length + (policy === 'keep_rows => 0' ? 1 : 0));
    expect(await left(1)).toEqual({ seqs: kept, floor: ages.length - kept.length + 1 });
    expect(await prune(policy)).toBe(0);
  });

  test('I1: a channel that was emptied goes on counting', async () => {
    await insert(1, [50, 40]);
    expect(await prune(`keep => '0'`)).toBe(2);
    await insert(1, [0]);
    expect(await left(1)).toEqual({ seqs: [3], floor: 3 });
  });

  test('batches: at most so many events a call, every channel gets its turn, 0 means that nothing is left', async () => {
    for (const shop of [1, 2, 3]) await insert(shop, [...Array(25).fill(50), 1]);
    const deleted: number[] = [];
    do deleted.push(await prune(`keep => '30 days', batch => 10`));
    while (deleted.at(-1) !== 0);
    expect(deleted.reduce((sum, n) => sum + n)).toBe(75);
    expect(Math.max(...deleted)).toBe(10);
    for (const shop of [1, 2, 3]) expect(await left(shop)).toEqual({ seqs: [26], floor: 26 });
  });

  test('a batch goes on where the last one stopped, and 0 is only said after a look at all channels', async () => {
    await insert(1, [50]);
    await insert(2, [50, 50]);
    expect(await prune(`keep => '30 days', batch => 2`)).toBe(2);
    await insert(1, [50]);
    await insert(3, [50]);
    expect(await prune(`keep => '30 days', batch => 2`)).toBe(2);
    expect(await left(1)).toEqual({ seqs: [2], floor: 2 });
    expect(await left(3)).toEqual({ seqs: [], floor: 2 });
    await writer.query('DELETE FROM orders WHERE shop > 1');
    expect(await prune(`keep => '30 days'`)).toBe(1);
    expect(await left(1)).toEqual({ seqs: [], floor: 3 });
  });

  test('an event without a time is kept; rows below a floor go as well', async () => {
    await writer.query(`ALTER TABLE orders ALTER created_at DROP NOT NULL`);
    await insert(1, [50, 50, 50, 50, 50]);
    await writer.query('DELETE FROM orders WHERE seq = 2; UPDATE orders SET created_at = NULL WHERE seq = 4');
    expect(await prune(`keep => '30 days'`)).toBe(1);
    expect(await prune(`keep => '30 days'`)).toBe(1);
    expect(await left(1)).toEqual({ seqs: [4, 5], floor: 4 });
  });

  test('says what is missing', async () => {
    await expect(prune('NULL')).rejects.toMatchObject({
      code: '22023',
      hint: `For example: SELECT rowcast.prune('orders', keep => '30 days');`,
    });
    await expect(prune(`keep => '-1 day'`)).rejects.toMatchObject({ code: '22023' });
    await expect(writer.query(`SELECT rowcast.prune('nix', keep_rows => 1)`)).rejects.toMatchObject({ code: '42704' });
    await writer.query('ALTER TABLE orders RENAME created_at TO at');
    expect(await prune('keep_rows => 1')).toBe(0);
    await expect(prune(`keep => '1 day'`)).rejects.toMatchObject({
      code: '42703',
      hint: `Name the column with the time of an event: SELECT rowcast.retain('orders', time_column => …);`,
    });
    await expect(writer.query(`SELECT rowcast.retain('orders', '1 day', NULL, 'placed')`)).rejects.toMatchObject({
      code: '42703',
    });
    await writer.query(`SELECT rowcast.retain('orders', time_column => 'at')`);
    expect(await prune(`keep => '1 day'`)).toBe(0);
  });

  test('I8: never waits while it holds a channel, so that it cannot deadlock with a writer of several', async () => {
    for (const shop of [1, 2, 3]) await insert(shop, [50, 50]);
    const other = await connectWriter(database.url);
    const pruner = await connectWriter(database.url);
    await other.query('BEGIN; INSERT INTO orders (shop) VALUES (2)');
    // It stops before the channel that the writer holds, and keeps the first one until its transaction ends.
    await pruner.query('BEGIN');
    expect(await prune(`keep => '30 days'`, pruner)).toBe(2);
    const blocked = other.query('INSERT INTO orders (shop) VALUES (1)');
    await until(
      async () =>
        (
          await writer.query('SELECT WHERE pg_blocking_pids($1) = ARRAY[$2::int]', [
            processId(other),
            processId(pruner),
          ])
        ).rowCount,
      { what: 'the writer to wait for the batch' },
    );
    await pruner.query('COMMIT');
    await blocked;
    // Now it begins with that channel, waits for a second, holding nothing, and leaves it for later.
    expect(await prune(`keep => '30 days'`, pruner)).toBe(2);
    expect(await left(3)).toEqual({ seqs: [], floor: 3 });
    await other.query('COMMIT');
    expect(await prune(`keep => '30 days'`, pruner)).toBe(2);
    expect(await left(2)).toEqual({ seqs: [3], floor: 3 });
    await Promise.all([other.end(), pruner.end()]);
  });

  test('I1 I8: writers of several channels in the opposite order go on without an error while it prunes', async () => {
    const [writers, transactions] = [4, 40];
    let writing = true;
    const pruner = await connectWriter(database.url);
    const pruning = (async () => {
      let total = 0;
      while (writing) total += await prune(`keep => '0', batch => 7`, pruner);
      return total;
    })();
    const write = async () => {
      const one = await connectWriter(database.url);
      for (let i = 0; i < transactions; i++) {
        await one.query('BEGIN');
        for (const shop of [3, 2, 1]) await one.query('INSERT INTO orders (shop) VALUES ($1)', [shop]);
        await one.query('COMMIT');
      }
      await one.end();
    };
    try {
      await Promise.all(Array.from({ length: writers }, write));
    } finally {
      writing = false;
    }
    expect(await pruning).toBeGreaterThan(0);
    await pruner.end();
    for (const shop of [1, 2, 3]) {
      const { rows } = await writer.query('INSERT INTO orders (shop) VALUES ($1) RETURNING seq::int', [shop]);
      expect(rows).toEqual([{ seq: writers * transactions + 1 }]);
    }
  });

  test('an event that is being updated stays, and all that follows it', async () => {
    await insert(1, [50, 50, 50, 50]);
    const other = await connectWriter(database.url);
    await other.query(`BEGIN; UPDATE orders SET note = 'late' WHERE seq = 3`);
    expect(await prune(`keep => '30 days'`)).toBe(2);
    expect(await prune(`keep => '30 days'`)).toBe(0);
    await other.query('COMMIT');
    expect(await prune(`keep => '30 days'`)).toBe(2);
    await other.end();
  });
});

describe('the policies of the streams', () => {
  let database: TestDatabase;
  let writer: pg.Client;

  beforeAll(async () => {
    database = await createDatabase();
    writer = await connectWriter(database.url);
    await writer.query(`
      CREATE TABLE orders (shop int NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
      SELECT rowcast.attach('orders', 'shop')`);
  });
  afterAll(async () => {
    await writer.end();
    await database.drop();
  });

  const count = async () => Number((await writer.query('SELECT count(*) FROM orders')).rows[0]?.count);

  const runs = async () =>
    Number(
      (await writer.query('SELECT sessions FROM pg_stat_database WHERE datname = current_database()')).rows[0]
        ?.sessions,
    );
  /** Waits until the policies have been looked at again some times. */
  const moreRuns = async () => {
    const before = await runs();
    await until(async () => (await runs()) > before + 5, { what: 'more runs' });
  };

  test('a gateway prunes by them, without a policy it keeps everything; readers of the rest notice nothing', async () => {
    const gateway = await startTestGateway(database.url, { ROWCAST_PRUNE_INTERVAL: '50' });
    await writer.query(`INSERT INTO orders SELECT 1, now() - interval '50 days' FROM generate_series(1, 100)`);
    const reader = follow(testClient({ url: gateway.url }), 'orders:1');
    await reader.count(100);
    await moreRuns();
    expect(await count()).toBe(100);

    await writer.query(`SELECT rowcast.retain('orders', keep => '30 days', keep_rows => 10)`);
    await until(async () => (await count()) === 10, { what: 'the old events to go' });
    await writer.query('INSERT INTO orders VALUES (1)');
    await reader.count(101);
    expect(reader.events.map(({ seq }) => seq)).toEqual(seqs(1, 101));
    expect(reader.resets).toEqual([]);
    await until(async () => (await count()) === 10, { what: 'one more to go' });

    await writer.query(`SELECT rowcast.retain('orders')`);
    await writer.query(`INSERT INTO orders SELECT 1, now() - interval '50 days' FROM generate_series(1, 100)`);
    await reader.count(201);
    await moreRuns();
    await gateway.stop();
    expect(await count()).toBe(110);
  });

  test('one gateway at a time, and a fault is logged once, until it has passed', async () => {
    await writer.query(`
      SELECT rowcast.retain('orders', keep_rows => 5);
      CREATE ROLE weak_${process.pid};
      ALTER TABLE orders OWNER TO weak_${process.pid};
      SELECT rowcast.attach('orders', 'shop');
      REVOKE DELETE ON orders FROM weak_${process.pid}`);
    const logged: { level: string; code: unknown; stream: unknown }[] = [];
    const record = (level: string) => (fields: { err?: { code?: string }; stream?: string }) => {
      logged.push({ level, code: fields.err?.code, stream: fields.stream });
    };
    const logger = { error: record('error'), info: record('info'), warn: record('warn') } as unknown as Logger;
    const options = { databaseUrl: database.url, interval: 10, logger };
    const weak = new Retention(options);
    weak.start();
    await until(() => logged.length > 0, { what: 'the fault to be logged' });
    await moreRuns();
    await weak.stop();
    expect(logged).toEqual([{ level: 'error', code: '42501', stream: 'orders' }]);

    const other = await connectWriter(database.url);
    await other.query('BEGIN; SELECT FROM rowcast.retention FOR UPDATE');
    await writer.query(`GRANT DELETE ON orders TO weak_${process.pid}`);
    const strong = new Retention(options);
    strong.start();
    await moreRuns();
    const kept = await count();
    expect(kept).toBeGreaterThan(5);
    await other.end();
    await until(async () => (await count()) === 5, { what: 'the lock to be free again' });
    await until(() => logged.length > 2, { what: 'the run to end' });
    await strong.stop();
    expect(logged.slice(1)).toEqual([
      { level: 'warn', code: undefined, stream: 'orders' }, // another session had the row for too long
      { level: 'info', code: undefined, stream: 'orders' },
    ]);
    await writer.query(`DROP OWNED BY weak_${process.pid}; DROP ROLE weak_${process.pid}`);
  });

  test('stopping waits for no server that hangs', async () => {
    const blocker = await connectWriter(database.url);
    await blocker.query(`BEGIN; LOCK TABLE rowcast.retention IN ACCESS EXCLUSIVE MODE`);
    const retention = new Retention({
      databaseUrl: database.url,
      interval: 1,
      logger: { error() {}, info() {} } as unknown as Logger,
    });
    retention.start();
    await until(
      async () =>
        (
          await writer.query(
            `SELECT FROM pg_stat_activity WHERE application_name = 'rowcast retention' AND wait_event_type = 'Lock'`,
          )
        ).rowCount,
      { what: 'a run that waits' },
    );
    const started = fairNow();
    await retention.stop();
    expect(fairNow() - started).toBeLessThan(3_000);
    await blocker.query('ROLLBACK');
    await blocker.end();
  });
});
