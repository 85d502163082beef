/** A table that has columns called seq and tx itself: those of Rowcast have other names, and everything else works as ever. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { complaints, findingsAt } from '../support/doctor.js';
import { follow } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { connectWriter } from '../support/writer.js';

const NAMES = `seq => 'The "seq"', tx => '50% tx'`;

describe.each(clusters())('other column names on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let writer: pg.Client;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
    await writer.query(`
      CREATE TABLE notes (id text NOT NULL, seq text, tx int, created_at timestamptz NOT NULL DEFAULT now());
      INSERT INTO notes VALUES ('a', 'one', 1), ('b', 'one', 1), ('a', 'two', 2);
      CREATE TABLE visits (id text NOT NULL, seq text, at date NOT NULL) PARTITION BY RANGE (at);
      CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
      CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`);
  });
  afterAll(async () => {
    await writer.end();
    await database.drop();
  });

  const numbers = async (table: string) =>
    (await writer.query<{ n: string }>(`SELECT id || "The ""seq""" AS n FROM ${table} ORDER BY 1`)).rows.map(
      ({ n }) => n,
    );

  test('attach refuses the names that are taken, and says how to choose others', async () => {
    await expect(writer.query(`SELECT rowcast.attach('notes', 'id')`)).rejects.toMatchObject({
      code: '42701',
      hint: expect.stringContaining(
        `SELECT rowcast.attach('public.notes', 'id', seq => 'rowcast_seq', tx => 'rowcast_tx');`,
      ),
    });
    await expect(writer.query(`SELECT rowcast.attach('notes', 'id', seq => 'id', tx => 'x')`)).rejects.toMatchObject({
      code: '42701',
    });
    await expect(writer.query(`SELECT rowcast.attach('notes', 'id', seq => 'x', tx => 'x')`)).rejects.toMatchObject({
      code: '42701',
    });
  });

  test('attach refuses a name that another table has', async () => {
    await writer.query(`CREATE SCHEMA other; CREATE TABLE taken (id text NOT NULL);
      CREATE TABLE other.taken (id text NOT NULL);
      SELECT rowcast.attach('taken', 'id')`);
    await expect(writer.query(`SELECT rowcast.attach('other.taken', 'id')`)).rejects.toMatchObject({
      code: '42710',
      message: 'there is a stream taken already',
      hint: `Give this one another name: name => '…'.`,
    });
    await writer.query(`SELECT rowcast.attach('other.taken', 'id', name => 'others')`);
  });

  test.each(['Up', 'a.b', 'a:b', '1st', '', 'x'.repeat(41)])('attach and track refuse %p as a name', async (name) => {
    await writer.query('CREATE TABLE IF NOT EXISTS nameless (id text PRIMARY KEY)');
    const refusal = { code: '42602', hint: expect.stringContaining('name => ') };
    for (const call of ['attach', 'track']) {
      const made = writer.query(`SELECT rowcast.${call}('nameless', 'id', name => $1)`, [name]);
      await expect(made).rejects.toMatchObject(refusal);
    }
  });

  test('attach refuses the tables of Rowcast, to which its own trigger writes', async () => {
    const { rows } = await writer.query<{ name: string }>(`SELECT oid::regclass AS name FROM pg_class
      WHERE relnamespace = 'rowcast'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'messages'`);
    expect(rows.length).toBeGreaterThan(4);
    for (const { name } of rows) {
      const made = writer.query(`SELECT rowcast.attach($1, 'key')`, [name]);
      await expect(made).rejects.toMatchObject({
        code: '42809',
        message: `${name} belongs to Rowcast, and cannot be a stream`,
      });
    }
  });

  test('a table of the application may be in the schema of Rowcast', async () => {
    await writer.query(`CREATE TABLE rowcast.theirs (id text PRIMARY KEY); CREATE TABLE rowcast.tracked (id text PRIMARY KEY);
      SELECT rowcast.attach('rowcast.theirs', 'id'), rowcast.track('rowcast.tracked', 'id')`);
    await writer.query(
      `SELECT rowcast.detach('theirs'), rowcast.untrack('tracked'); DROP TABLE rowcast.theirs, rowcast.tracked`,
    );
  });

  test('a table that was dropped and made again takes up its name, attached or tracked', async () => {
    for (const [before, after] of ['attach', 'track'].flatMap((a) => ['attach', 'track'].map((b) => [a, b]))) {
      await writer.query(`CREATE TABLE again (id text PRIMARY KEY); SELECT rowcast.${before}('again', 'id'); DROP TABLE again;
        CREATE TABLE again (id text PRIMARY KEY); SELECT rowcast.${after}('again', 'id'); INSERT INTO again VALUES ('a')`);
      const { rows } = await writer.query(`SELECT rowcast.position('again:a') AS position`);
      expect(rows).toEqual([{ position: expect.stringMatching(/^[a-z0-9]+\.1$/) }]);
      await writer.query(`SELECT rowcast.${after === 'attach' ? 'detach' : 'untrack'}('again'); DROP TABLE again`);
    }
  });

  test('I2: rows arrive with the columns of the application, and without those of Rowcast', async () => {
    await writer.query(`SELECT rowcast.attach('notes', 'id', ${NAMES}), rowcast.attach('visits', 'id', ${NAMES})`);
    expect(await numbers('notes')).toEqual(['a1', 'a2', 'b1']);
    const gateway = await startTestGateway(database.url);
    const client = testClient({ url: gateway.url });
    const notes = follow(client, 'notes:a', 'start');
    const visits = follow(client, 'visits:a', 'start');
    await notes.count(2);
    await visits.live();
    await writer.query(`
      INSERT INTO notes (id, seq, tx) VALUES ('a', 'three', 3);
      INSERT INTO visits VALUES ('a', 'mine', '2026-01-05'), ('a', 'mine', '2026-02-05')`);
    await notes.count(3);
    await visits.count(2);
    expect(notes.events.map(({ seq, row }) => [seq, row.seq, row.tx])).toEqual([
      [1, 'one', 1],
      [2, 'two', 2],
      [3, 'three', 3],
    ]);
    expect(visits.events.map(({ row }) => row)).toEqual([
      { id: 'a', seq: 'mine', at: '2026-01-05' },
      { id: 'a', seq: 'mine', at: '2026-02-05' },
    ]);
    client.close();
    await gateway.stop();
    expect(complaints(await findingsAt(database.url))).toEqual([]);
  });

  test('numbers cannot be changed, and the columns of the application can', async () => {
    await writer.query(`UPDATE notes SET seq = 'changed', tx = 9 WHERE id = 'b'`);
    await expect(writer.query(`UPDATE notes SET "The ""seq""" = 9 WHERE id = 'b'`)).rejects.toMatchObject({
      code: '23001',
      message: expect.stringContaining('"The ""seq""", "50% tx" and the key of an event'),
    });
  });

  test('deleting, pruning and dropping a partition raise the floor, and the numbering goes on', async () => {
    await writer.query(`
      DELETE FROM notes WHERE "The ""seq""" = 1;
      SELECT rowcast.prune('notes', keep_rows => 1), rowcast.drop_partition('visits_1');
      SELECT rowcast.prune('notes', keep => '0 seconds')`);
    expect(await numbers('notes')).toEqual([]);
    expect(await numbers('visits')).toEqual(['a2']);
    await writer.query(`INSERT INTO notes (id) VALUES ('a'); INSERT INTO visits VALUES ('a', '', '2026-02-06')`);
    expect(await numbers('notes')).toEqual(['a4']);
    expect(await numbers('visits')).toEqual(['a2', 'a3']);
  });

  test('a new epoch settles the transactions of another cluster', async () => {
    await writer.query(`
      ALTER TABLE notes DISABLE TRIGGER USER;
      UPDATE notes SET "50% tx" = '99999999999'; 
      ALTER TABLE notes ENABLE TRIGGER USER;
      SELECT rowcast.new_epoch('notes')`);
    const { rows } = await writer.query(`SELECT "50% tx"::text AS tx FROM notes`);
    expect(rows).toEqual([{ tx: '2' }]);
  });

  test('attached again they keep their names; renamed, they are named', async () => {
    await writer.query(`SELECT rowcast.attach('notes', 'id')`);
    await expect(writer.query(`SELECT rowcast.attach('notes', 'id', seq => 'n')`)).rejects.toMatchObject({
      code: '55000',
      hint: 'Rename it first: ALTER TABLE public.notes RENAME COLUMN "The ""seq""" TO n;',
    });
    await writer.query('ALTER TABLE notes RENAME COLUMN "The ""seq""" TO n');
    expect(complaints(await findingsAt(database.url))).toEqual([
      expect.stringContaining('notes does not have the columns "The ""seq""" and "50% tx" any more: INSERTs fail'),
    ]);
    await expect(writer.query(`SELECT rowcast.attach('notes', 'id')`)).rejects.toMatchObject({
      code: '42703',
      hint: expect.stringMatching(/seq => …/),
    });
    await writer.query(`SELECT rowcast.attach('notes', 'id', seq => 'n'); INSERT INTO notes (id) VALUES ('a')`);
    const { rows } = await writer.query('SELECT max(n)::int AS n FROM notes');
    expect(rows).toEqual([{ n: 5 }]);
    expect(complaints(await findingsAt(database.url))).toEqual([]);
  });

  test('detach takes them away, also where one was dropped', async () => {
    await writer.query(
      `ALTER TABLE notes DROP COLUMN n CASCADE; SELECT rowcast.detach('notes'), rowcast.detach('visits')`,
    );
    const { rows } = await writer.query(
      `SELECT attrelid::regclass || ' ' || attname AS c FROM pg_attribute
        WHERE attrelid IN ('notes'::regclass, 'visits'::regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum`,
    );
    expect(rows.map(({ c }) => c)).toEqual([
      'notes id',
      'notes seq',
      'notes tx',
      'notes created_at',
      'visits id',
      'visits seq',
      'visits at',
    ]);
  });
});
