/** Settings of Rowcast are custom settings of PostgreSQL, which any session may set: none of them may decide anything for others. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { connectWriter, newExecution } from '../support/writer.js';

const SQL = join(import.meta.dirname, '../../sql');
const source = readdirSync(SQL, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.sql'))
  .map((file) => readFileSync(join(SQL, file), 'utf8'))
  .join('\n');
const READ = [...new Set([...source.matchAll(/current_setting\(\s*'+(rowcast\.\w+)/g)].map(([, name]) => name))];

/**
 * With what each of them may decide: `request_id` is stored in rows of the session; `drop_data` is set by `uninstall` itself;
 * `written` says from which number on to look for the last event of a channel.
 */
const SETTINGS = ['rowcast.drop_data', 'rowcast.request_id', 'rowcast.written'];
/** Of a version that had it: the table that a DELETE names. */
const FORMER = 'rowcast.deleting';

const HOSTILE = `hostile_${process.pid}`;
let database: TestDatabase;
let admin: pg.Client;
let hostile: pg.Client;
let own: string;
let foreign: string;

beforeAll(async () => {
  database = await createDatabase();
  admin = await connectWriter(database.url);
  [own, foreign] = [await newExecution(admin), await newExecution(admin)];
  await admin.query(`
    CREATE TABLE readings (sensor int NOT NULL, at timestamptz NOT NULL DEFAULT '2026-01-02') PARTITION BY RANGE (at);
    CREATE TABLE january PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    SELECT rowcast.attach('readings', 'sensor');
    CREATE TABLE jobs (id int PRIMARY KEY, queue int);
    SELECT rowcast.track('jobs', key => 'queue');
    INSERT INTO readings SELECT 1 + n % 2 FROM generate_series(1, 20) n;
    INSERT INTO jobs SELECT n, 1 + n % 2 FROM generate_series(1, 20) n;
    INSERT INTO agent_execution_logs (execution_id, message) VALUES ('${own}', 'x'), ('${foreign}', 'x');
    CREATE ROLE ${HOSTILE} LOGIN IN ROLE service_role;
    GRANT SELECT, INSERT, DELETE ON readings, january, jobs TO ${HOSTILE}; GRANT UPDATE ON jobs TO ${HOSTILE}`);
  hostile = await connectWriter(database.url.replace('postgres@', `${HOSTILE}@`));
});
afterAll(async () => {
  await hostile?.end();
  await admin?.query(`DROP OWNED BY ${HOSTILE}; DROP ROLE ${HOSTILE}`);
  await admin?.end();
  await database?.drop();
});

/** Every channel, with its numbers from the floor on, and what follows the last one. */
async function channels(): Promise<Record<string, { floor: number; seqs: number[] }>> {
  const { rows } = await admin.query<{ name: string; key: string; floor: number; seqs: number[] }>(`
    SELECT s.name, c.key, c.floor::int, array_agg(e.seq::int ORDER BY e.seq) AS seqs
      FROM rowcast.channels c JOIN rowcast.streams s USING (stream_id) JOIN (
        SELECT 'readings' AS name, sensor::text AS key, seq FROM readings
        UNION ALL SELECT 'jobs', key::text, seq FROM rowcast_streams.jobs
        UNION ALL SELECT 'message', key, seq FROM rowcast.messages
        UNION ALL SELECT 'execution', execution_id::text, seq FROM agent_execution_logs) e ON e.name = s.name AND e.key = c.key AND e.seq >= c.floor
     GROUP BY 1, 2, 3`);
  return Object.fromEntries(rows.map(({ name, key, floor, seqs }) => [`${name}:${key}`, { floor, seqs }]));
}

/** What users and services may read, asked in a session with these settings. */
async function access(client: pg.Client): Promise<unknown> {
  await client.query('SET ROLE rowcast_gateway');
  const asked = [`execution:${own}`, `execution:${foreign}`, 'readings:1', 'jobs:1'].flatMap((channel) =>
    ['authenticated', 'anon', 'service_role'].map((role) => ({ role, channel })),
  );
  const values = [asked.map(({ role }) => role), asked.map(() => '{"sub":"eve"}'), asked.map(({ channel }) => channel)];
  const { rows } = await client.query('SELECT * FROM rowcast.decide($1, $2, $3)', values);
  await client.query('RESET ROLE');
  return rows;
}

test('the settings that the schema reads are those that are known here', () => {
  expect(READ.sort()).toEqual(SETTINGS);
});

test('I1 I2 I5: a session with hostile settings harms no order, numbering, access or floor of others', async () => {
  const oid = (await admin.query(`SELECT 'readings'::regclass::oid::text AS oid`)).rows[0].oid;
  const may = await access(admin);
  let before = await channels();
  for (const value of ['', '0', '-1', 'on', oid, '{"sub":"eve"}', `'; DROP TABLE readings; --`, 'x'.repeat(100_000)]) {
    for (const client of [hostile, admin]) {
      for (const name of [...SETTINGS, FORMER]) await client.query('SELECT set_config($1, $2, false)', [name, value]);
    }
    expect(await access(admin)).toEqual(may);
    await hostile.query('INSERT INTO readings VALUES (1), (1), (1)');
    await hostile.query(
      'DELETE FROM january WHERE sensor = 1 AND seq = (SELECT max(seq) - 1 FROM january WHERE sensor = 1)',
    );
    await hostile.query(`WITH also AS (DELETE FROM january WHERE sensor = 1 AND seq = (SELECT max(seq) FROM january WHERE sensor = 1))
      DELETE FROM readings WHERE false`);
    await hostile.query('INSERT INTO readings VALUES (1)');
    await hostile.query('UPDATE jobs SET queue = 3 - queue WHERE id = 1');
    await hostile.query(`SELECT rowcast.publish('message:lobby', 'said')`);
    await hostile.query(`INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, 'x')`, [own]);
    const after = await channels();
    for (const [channel, { floor, seqs }] of Object.entries(after)) {
      expect({ channel, seqs }).toEqual({ channel, seqs: seqs.map((_, nth) => (seqs[0] ?? 0) + nth) });
      expect({ channel, lowest: seqs[0] }).toEqual({ channel, lowest: floor });
    }
    expect(after['readings:1']?.seqs.at(-1)).toBe((before['readings:1']?.seqs.at(-1) ?? 0) + 4);
    for (const channel of ['readings:2', `execution:${foreign}`]) expect(after[channel]).toEqual(before[channel]);
    before = after;
  }
});

test('I1 I2: a session that says itself what it has written still locks the channel, and takes the next number', async () => {
  await admin.query(`INSERT INTO readings SELECT 3 FROM generate_series(1, 6)`);
  const { rows } = await admin.query(`SELECT stream_id FROM rowcast.streams WHERE name = 'readings'`);
  const written = (seq: number) => `${String(seq).padStart(19, '0')}${rows[0]?.stream_id}:3`;
  const next = async () =>
    Number((await hostile.query<{ seq: string }>('INSERT INTO readings VALUES (3) RETURNING seq')).rows[0]?.seq);
  await admin.query(`SET lock_timeout = '200ms'`);
  const top = 6;
  for (const [round, seq] of [1, top, top + 1, 10 ** 15].entries()) {
    await hostile.query('BEGIN');
    await hostile.query(`SELECT set_config('rowcast.written', $1, false)`, [written(seq)]);
    expect(await next()).toBe(top + 2 * round + 1);
    expect(await next()).toBe(top + 2 * round + 2);
    await expect(admin.query('INSERT INTO readings VALUES (3)')).rejects.toMatchObject({ code: '55P03' });
    await hostile.query('COMMIT');
  }
  // It has deleted the last of its own events, and hides that from itself: others go on after both.
  await hostile.query('BEGIN');
  const last = [await next(), await next(), await next()].at(-1) ?? 0;
  await hostile.query('DELETE FROM readings WHERE sensor = 3 AND seq = $1', [last]);
  await hostile.query(`SELECT set_config('rowcast.written', $1, false)`, [written(1)]);
  await next();
  await hostile.query('COMMIT');
  await admin.query('INSERT INTO readings VALUES (3), (3)');
  expect((await channels())['readings:3']).toEqual({ floor: last + 1, seqs: [last + 1, last + 2] });
  await hostile.query('RESET rowcast.written');
  await admin.query('RESET lock_timeout');
});
