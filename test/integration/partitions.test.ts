import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter, processId } from '../support/writer.js';

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/operations/retention.md'), 'utf8');
const blocks = (language: string) =>
  [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, block = '']) => block);

describe.each(clusters())('partitions on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let writer: pg.Client;
  let gateway: Gateway | undefined;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
  });
  beforeEach(async () => {
    await writer.query(`
      CREATE TABLE IF NOT EXISTS sensors (id int PRIMARY KEY);
      CREATE TABLE readings (sensor int NOT NULL REFERENCES sensors ON DELETE CASCADE, value int,
        created_at timestamptz NOT NULL DEFAULT '2026-03-01 12:00') PARTITION BY RANGE (created_at);
      CREATE TABLE january PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
      CREATE TABLE february PARTITION OF readings FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
      CREATE TABLE march PARTITION OF readings FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
      INSERT INTO sensors SELECT generate_series(1, 9) ON CONFLICT DO NOTHING`);
  });
  afterEach(async () => {
    await gateway?.stop();
    gateway = undefined;
    await writer.query(`ROLLBACK; DROP TABLE readings; DELETE FROM rowcast.streams WHERE name = 'readings'`);
  });
  afterAll(async () => {
    await writer.end();
    await database.drop();
  });

  const attach = () => writer.query(`SELECT rowcast.attach('readings', 'sensor')`);
  const insert = (into: string, sensor: number, at: string) =>
    writer.query(`INSERT INTO ${into} (sensor, created_at) VALUES ($1, $2)`, [sensor, at]);
  const numbers = async (sensor: number) =>
    (
      await writer.query<{ seq: number }>('SELECT seq::int FROM readings WHERE sensor = $1 ORDER BY seq', [sensor])
    ).rows.map(({ seq }) => seq);
  const floor = async (sensor: number) =>
    (
      await writer.query<{ floor: number }>(
        `SELECT floor::int FROM rowcast.channels JOIN rowcast.streams USING (stream_id) WHERE name = 'readings' AND key = $1`,
        [String(sensor)],
      )
    ).rows[0]?.floor;

  test('rows that are there are numbered in the order of time, and detach leaves the table as it was', async () => {
    await insert('readings', 1, '2026-03-02');
    await insert('readings', 1, '2026-01-02');
    await insert('readings', 1, '2026-02-02');
    await attach();
    await insert('readings', 1, '2026-01-03');
    const { rows } = await writer.query('SELECT seq::int, tableoid::regclass::text AS part FROM readings ORDER BY seq');
    expect(rows).toEqual([
      { seq: 1, part: 'january' },
      { seq: 2, part: 'february' },
      { seq: 3, part: 'march' },
      { seq: 4, part: 'january' },
    ]);
    await writer.query(`SELECT rowcast.detach('readings')`);
    const left = await writer.query(
      `SELECT tgname FROM pg_trigger WHERE tgrelid IN ('readings'::regclass, 'march'::regclass) AND NOT tgisinternal`,
    );
    expect(left.rows).toEqual([]);
  });

  test('what would break the numbering is refused', async () => {
    const refuse = (sql: string, error: object) => expect(writer.query(sql)).rejects.toMatchObject(error);
    await refuse(`SELECT rowcast.attach('march', 'sensor')`, {
      code: '42809',
      hint: expect.stringContaining('belongs to'),
    });
    await refuse(
      `CREATE TABLE by_key (key int NOT NULL) PARTITION BY RANGE (key); SELECT rowcast.attach('by_key', 'key')`,
      { code: '42809' },
    );
    await refuse(
      `CREATE TABLE by_list (key int NOT NULL, kind int NOT NULL) PARTITION BY LIST (kind); SELECT rowcast.attach('by_list', 'key')`,
      { code: '42809' },
    );
    await attach();
    await insert('readings', 1, '2026-01-02');
    await refuse(`UPDATE readings SET created_at = '2026-03-02'`, {
      code: '23001',
      message: expect.stringContaining('created_at of an event cannot be changed'),
    });
    await refuse('UPDATE january SET seq = 7', { code: '23001' });
    await refuse('BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO readings VALUES (1)', { code: '0A000' });
    await writer.query('ROLLBACK');
    await refuse(`SELECT rowcast.drop_partition('sensors')`, { code: '42809' });
    await refuse(`BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT rowcast.drop_partition('january')`, { code: '0A000' });
    await writer.query('ROLLBACK');
    await insert('readings', 1, '2026-02-02');
    await refuse(`SELECT rowcast.drop_partition('february')`, {
      code: '55000',
      hint: 'Drop the oldest partition first.',
    });
  });

  test('I2: a DELETE raises the floor, whether it names the table or a partition, and gives no number twice', async () => {
    await attach();
    for (const at of ['2026-01-02', '2026-02-02', '2026-01-03', '2026-03-02', '2026-02-03'])
      await insert('readings', 1, at);
    await writer.query('DELETE FROM readings WHERE seq = 1');
    expect(await floor(1)).toBe(2);
    await writer.query('DELETE FROM january');
    expect([await floor(1), await numbers(1)]).toEqual([4, [2, 4, 5]]);
    await writer.query('WITH also AS (DELETE FROM march) DELETE FROM readings WHERE false');
    expect(await floor(1)).toBe(5);
    await writer.query(`WITH gone AS (DELETE FROM february WHERE seq = 5 RETURNING sensor)
      INSERT INTO readings SELECT sensor FROM gone`);
    expect([await floor(1), await numbers(1)]).toEqual([6, [2, 6]]);
    await writer.query('DELETE FROM readings');
    await insert('march', 1, '2026-03-03');
    expect([await floor(1), await numbers(1)]).toEqual([7, [7]]);
    await writer.query('DELETE FROM sensors WHERE id = 1');
    expect(await floor(1)).toBe(8);
  });

  test('a DELETE of many events writes each channel twice', async () => {
    await attach();
    await writer.query(`INSERT INTO readings SELECT 1 + n % 2, n, '2026-01-02' FROM generate_series(1, 2000) n`);
    const updates = async () =>
      (await writer.query(`SELECT pg_stat_get_xact_tuples_updated('rowcast.channels'::regclass)::int AS count`)).rows[0]
        .count;
    await writer.query('BEGIN');
    const before = await updates();
    await writer.query('DELETE FROM readings WHERE sensor = 1 OR seq <= 500');
    expect((await updates()) - before).toBe(4);
    await writer.query('COMMIT');
    expect([await floor(1), await floor(2)]).toEqual([1001, 501]);
  });

  test('I1 I2: many writers into many partitions, no number twice and none left out', async () => {
    await attach();
    const writers = await Promise.all(Array.from({ length: 6 }, () => connectWriter(database.url)));
    await Promise.all(
      writers.map(async (one, index) => {
        for (let i = 0; i < 30; i++) {
          const month = ['2026-01-05', '2026-02-05', '2026-03-05'][(i + index) % 3];
          await one.query('INSERT INTO readings SELECT $1, i, $2 FROM generate_series(1, 3) i', [1 + (i % 2), month]);
        }
        await one.end();
      }),
    );
    for (const sensor of [1, 2]) expect(await numbers(sensor)).toEqual(seqs(1, 270));
  });

  test('I9: an INSERT rings, into the table or straight into a partition', async () => {
    await attach();
    gateway = await startTestGateway(database.url, {}, { safetyInterval: 3_600_000 });
    const reader = follow(testClient({ url: gateway.url }), 'readings:1');
    await reader.live();
    await insert('readings', 1, '2026-01-02');
    await reader.count(1);
    await insert('march', 1, '2026-03-02');
    await reader.count(2);
    await writer.query(`CREATE TABLE april PARTITION OF readings FOR VALUES FROM ('2026-04-01') TO ('2026-05-01')`);
    await insert('april', 1, '2026-04-02');
    await reader.count(3);
    expect(reader.events.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  test('I2: a partition is dropped: floors rise, numbers go on, who is behind is told', async () => {
    await attach();
    gateway = await startTestGateway(database.url);
    const client = testClient({ url: gateway.url });
    for (const at of ['2026-01-02', '2026-01-03', '2026-02-02']) await insert('readings', 1, at);
    await insert('readings', 2, '2026-01-02');
    const reader = follow(client, 'readings:1');
    await reader.count(3);
    const { rows } = await writer.query(`SELECT rowcast.drop_partition('january')::int AS channels`);
    expect(rows).toEqual([{ channels: 2 }]);
    expect(await floor(1)).toBe(3);
    expect(await floor(2)).toBe(2);
    await insert('readings', 1, '2026-03-02');
    await insert('readings', 2, '2026-03-02');
    expect(await numbers(1)).toEqual([3, 4]);
    expect(await numbers(2)).toEqual([2]);
    await reader.count(4);
    expect(reader.resets).toEqual([]);
    const epoch = reader.events[0]?.position.split('.')[0];
    const late = follow(testClient({ url: gateway.url }), 'readings:2', `${epoch}.0`);
    await late.count(1);
    expect(late.resets).toEqual([`pruned ${epoch}.1`]);
    expect(late.events.map(({ seq }) => seq)).toEqual([2]);
  });

  test('events on both sides of a border: the floor rises past those that are older by number', async () => {
    await attach();
    await insert('readings', 1, '2026-02-02'); // a clock that went back, or a writer that waited
    await insert('readings', 1, '2026-01-31');
    await insert('readings', 1, '2026-02-03');
    await writer.query(`SELECT rowcast.drop_partition('january')`);
    expect(await floor(1)).toBe(3);
    gateway = await startTestGateway(database.url);
    const reader = follow(testClient({ url: gateway.url }), 'readings:1');
    await reader.count(1);
    expect(reader.events.map(({ seq }) => seq)).toEqual([3]);
  });

  /** As cron does: until it is not in anybody's way any more. No other error may come of it. */
  const dropJanuary = (on: pg.Client) =>
    until(
      () =>
        on.query(`SELECT rowcast.drop_partition('january')`).catch((error: { code?: string }) => {
          if (error.code !== '55P03') throw error;
        }),
      { deadlineMs: 20_000, what: 'the partition to be dropped' },
    );
  const isBlocked = async (by: pg.Client, blocked: pg.Client) =>
    (await by.query('SELECT WHERE $2 = ANY (pg_blocking_pids($1))', [processId(blocked), processId(by)])).rowCount;

  test('I8: dropping waits for a writer that is under way, who can go on in any channel and partition', async () => {
    await attach();
    for (const sensor of [1, 2]) await insert('readings', sensor, '2026-01-02');
    const other = await connectWriter(database.url);
    // The one that looks for the deadlock first is the one that fails.
    await other.query(`SET deadlock_timeout = '10ms'; BEGIN; INSERT INTO readings VALUES (2)`);
    const dropped = dropJanuary(writer);
    await until(() => isBlocked(other, writer), { what: 'the drop to wait' });
    await other.query(`INSERT INTO readings VALUES (1, 7, '2026-01-03'); INSERT INTO readings VALUES (1); COMMIT`);
    await dropped;
    await other.end();
    expect(await numbers(1)).toEqual([3]);
    expect(await floor(1)).toBe(3); // what came while it waited went as well
    expect(await numbers(2)).toEqual([2]);
  });

  test('I8: an open reader is not waited for, so that no writer waits behind', async () => {
    await attach();
    await insert('readings', 1, '2026-01-02');
    const reader = await connectWriter(database.url);
    const other = await connectWriter(database.url);
    await reader.query('BEGIN; SELECT FROM readings');
    const refused = expect(writer.query(`SELECT rowcast.drop_partition('january')`)).rejects.toMatchObject({
      code: '55P03',
      message: expect.stringMatching(/^(public\.)?readings or a table that it refers to is in use$/),
      hint: expect.stringContaining('Nothing was changed'),
    });
    await until(() => isBlocked(reader, writer), { what: 'the drop to wait' });
    await other.query(`SET statement_timeout = '10s'; INSERT INTO readings VALUES (1)`);
    await refused;
    expect(await numbers(1)).toEqual([1, 2]);
    await reader.query('COMMIT');
    await dropJanuary(writer);
    expect(await numbers(1)).toEqual([2]);
    await Promise.all([reader.end(), other.end()]);
  });

  test.each([
    ['the partition itself', `INSERT INTO january VALUES (2, 1, '2026-01-03')`],
    ['the table that it refers to', `UPDATE sensors SET id = id WHERE id = 9`],
  ])('I8: a writer of %s goes on in the table, and is not waited for', async (_, statement) => {
    await attach();
    await insert('readings', 1, '2026-01-02');
    const other = await connectWriter(database.url);
    await other.query(`BEGIN; ${statement}`);
    await writer.query(`SET statement_timeout = '10s'`);
    await expect(writer.query(`SELECT rowcast.drop_partition('january')`)).rejects.toMatchObject({ code: '55P03' });
    await writer.query('RESET statement_timeout');
    await other.query('INSERT INTO readings VALUES (1); COMMIT');
    await dropJanuary(writer);
    await other.end();
    expect(await numbers(1)).toEqual([2]);
  });

  test('a parent that is deleted, pruning, TRUNCATE and new_epoch work as with any table', async () => {
    await attach();
    for (const at of ['2026-01-02', '2026-02-02', '2026-03-02']) await insert('readings', 1, at);
    await insert('readings', 2, '2026-02-02');
    await writer.query('DELETE FROM sensors WHERE id = 2');
    expect(await floor(2)).toBe(2);
    const pruned = await writer.query(`SELECT rowcast.prune('readings', keep => now() - '2026-02-15')::int AS n`);
    expect(pruned.rows).toEqual([{ n: 2 }]);
    expect(await numbers(1)).toEqual([3]);
    await writer.query(`SELECT rowcast.new_epoch('readings'); TRUNCATE readings`);
    await insert('readings', 1, '2026-03-02');
    expect(await numbers(1)).toEqual([1]);
  });

  test('I2: a stream that moves to a partitioned table is numbered anew, and its readers are told', async () => {
    await writer.query(
      `CREATE TABLE moving (sensor int NOT NULL, value int); SELECT rowcast.attach('moving', 'sensor')`,
    );
    gateway = await startTestGateway(database.url);
    const reader = follow(testClient({ url: gateway.url }), 'moving:1');
    await writer.query('INSERT INTO moving VALUES (1, 1), (1, 2)');
    await reader.count(2);
    await writer.query(`
      BEGIN;
      INSERT INTO readings (sensor, value) SELECT sensor, value FROM moving ORDER BY seq;
      SELECT rowcast.detach('moving'); SELECT rowcast.attach('readings', 'sensor', 'moving');
      COMMIT`);
    await until(() => reader.resets.length > 0, { what: 'the reset' });
    expect(reader.resets[0]).toMatch(/^epoch [a-z0-9]+\.2$/);
    await writer.query(`INSERT INTO readings VALUES (1, 3)`);
    await reader.count(3);
    expect(reader.events[2]).toMatchObject({ seq: 3, row: { value: 3 } });
    await writer.query(`SELECT rowcast.detach('moving'); DROP TABLE moving`);
  });
});

test.each(clusters())('docs/operations/retention.md does what it says, on PostgreSQL $version', async (cluster) => {
  const database = await createDatabase(cluster);
  const writer = await connectWriter(database.url);
  const pieces = blocks('sql');
  expect(pieces.length).toBeGreaterThan(8);
  for (const sql of pieces) await writer.query(sql);
  const partitions = await writer.query(`SELECT FROM pg_inherits WHERE inhparent = 'readings'::regclass`);
  expect(partitions.rowCount).toBe(3); // of four
  const { rows } = await writer.query('SELECT sensor_id, value, seq::int FROM readings ORDER BY seq');
  expect(rows).toEqual([
    { sensor_id: '7', value: 21.5, seq: 1 },
    { sensor_id: '7', value: 21.7, seq: 2 },
  ]);
  const policies = await writer.query('SELECT keep_rows::int, time_column FROM rowcast.retention ORDER BY stream_id');
  expect(policies.rows).toEqual([
    { keep_rows: null, time_column: 'created_at' },
    { keep_rows: 1000, time_column: 'created_at' },
    { keep_rows: null, time_column: 'seen_at' },
  ]);
  await writer.end();
  await database.drop();
});
