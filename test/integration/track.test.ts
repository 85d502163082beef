/** `rowcast.track` in SQL: which changes become events, with which numbers, whatever the transaction does. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/until.js';
import { connectWriter, processId } from '../support/writer.js';

describe.each(clusters())('track on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let writer: pg.Client;
  let other: pg.Client;
  let tables = 0;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
    other = await connectWriter(database.url);
  });
  afterAll(async () => {
    await writer.end();
    await other.end();
    await database.drop();
  });

  /** A tracked table of its own for each test. */
  async function tracked(options = "key => 'customer'", columns = 'id int PRIMARY KEY, customer int, status text') {
    const name = `orders${++tables}`;
    await writer.query(`CREATE TABLE ${name} (${columns})`);
    await writer.query(`SELECT rowcast.track('${name}', ${options})`);
    return name;
  }

  /** The events as `key.seq op id`, in order of key and seq. */
  async function events(stream: string): Promise<string[]> {
    const { rows } = await writer.query<{ event: string }>(
      `SELECT format('%s.%s %s %s', key, seq, op, id) AS event FROM rowcast_streams.${stream} ORDER BY key, seq`,
    );
    return rows.map(({ event }) => event);
  }

  async function shapeOf(table: string): Promise<unknown> {
    const { rows } = await writer.query(
      `SELECT (SELECT json_agg(a ORDER BY attnum) FROM pg_attribute a WHERE a.attrelid = $1::regclass) AS columns,
              (SELECT json_agg(i ORDER BY indexrelid) FROM pg_index i WHERE i.indrelid = $1::regclass) AS indexes,
              (SELECT json_agg(p ORDER BY oid) FROM pg_policy p WHERE p.polrelid = $1::regclass) AS policies,
              (SELECT relacl::text FROM pg_class WHERE oid = $1::regclass) AS rights`,
      [table],
    );
    return rows[0];
  }

  test('the table keeps its columns, indexes, policies and rights; untrack leaves nothing', async () => {
    await writer.query('CREATE TABLE kept (id int PRIMARY KEY, customer int)');
    const before = await shapeOf('kept');
    await writer.query("SELECT rowcast.track('kept', key => 'customer')");
    expect(await shapeOf('kept')).toEqual(before);
    await writer.query('INSERT INTO kept VALUES (1, 1)');
    await writer.query("SELECT rowcast.untrack('kept')");
    expect(await shapeOf('kept')).toEqual(before);
    const { rows } = await writer.query(
      `SELECT tgname AS name FROM pg_trigger WHERE tgrelid = 'kept'::regclass
       UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'rowcast'::regnamespace AND proname LIKE 'kept%'
       UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'rowcast_streams'::regnamespace AND relname LIKE 'kept%'`,
    );
    expect(rows).toEqual([]);
    await writer.query('UPDATE kept SET customer = 2');
  });

  test('insert, update, delete; an update of nothing is no event; a change of the key leaves and enters', async () => {
    const name = await tracked();
    await writer.query(`INSERT INTO ${name} VALUES (1, 7, 'placed'), (2, NULL, 'placed')`);
    await writer.query(`UPDATE ${name} SET status = 'paid'`);
    await writer.query(`UPDATE ${name} SET status = 'paid'`);
    await writer.query(`UPDATE ${name} SET customer = 8 WHERE id = 1`);
    await writer.query(`UPDATE ${name} SET customer = 8, id = 3 WHERE id = 2`);
    await writer.query(`UPDATE ${name} SET id = 4 WHERE id = 3`);
    await writer.query(`DELETE FROM ${name} WHERE id = 1`);
    expect(await events(name)).toEqual([
      ...['7.1 insert 1', '7.2 update 1', '7.3 delete 1'],
      ...['8.1 insert 1', '8.2 insert 3', '8.3 delete 3', '8.4 insert 4', '8.5 delete 1'],
    ]);
    const { rows } = await writer.query(`SELECT row, old FROM rowcast_streams.${name} WHERE key = 7 AND seq = 2`);
    expect(rows).toEqual([{ row: { id: 1, customer: 7, status: 'paid' }, old: { status: 'placed' } }]);
  });

  test('I2: savepoints, rollbacks, ON CONFLICT, MERGE and cascades are numbered without a gap, at COMMIT', async () => {
    const name = await tracked();
    await writer.query(
      `CREATE TABLE ${name}_items (id int PRIMARY KEY, customer int, order_id int REFERENCES ${name} ON DELETE CASCADE)`,
    );
    await writer.query(`SELECT rowcast.track('${name}_items', key => 'customer')`);
    await writer.query('BEGIN');
    await writer.query(`INSERT INTO ${name} VALUES (1, 1, 'a'), (2, 1, 'a')`);
    await writer.query('SAVEPOINT one');
    await writer.query(`UPDATE ${name} SET status = 'lost'`);
    await writer.query('ROLLBACK TO one');
    await writer.query(
      `INSERT INTO ${name} VALUES (1, 1, 'b') ON CONFLICT (id) DO UPDATE SET status = excluded.status`,
    );
    await writer.query(`INSERT INTO ${name}_items SELECT i, 1, 1 + i % 2 FROM generate_series(1, 4) i`);
    expect(await events(name)).toEqual([]);
    await writer.query('COMMIT');
    await writer.query('BEGIN');
    await writer.query(`UPDATE ${name} SET status = 'lost'`);
    await writer.query('ROLLBACK');
    await writer.query(
      `BEGIN; UPDATE ${name} SET status = 'kept' WHERE id = 1; SAVEPOINT last; UPDATE ${name} SET status = 'lost'; ROLLBACK TO last; COMMIT`,
    );
    await writer.query(`MERGE INTO ${name} o USING (VALUES (2, 'm'), (3, 'm')) n(id, status) ON n.id = o.id
      WHEN MATCHED THEN UPDATE SET status = n.status WHEN NOT MATCHED THEN INSERT VALUES (n.id, 1, n.status)`);
    await writer.query(`DELETE FROM ${name} WHERE id = 1`);
    // MERGE fires the triggers of one operation after those of another.
    expect((await events(name)).map((event) => event.replace(/^1\.[56] /, '1.x ')).sort()).toEqual(
      [
        ...['1.1 insert 1', '1.2 insert 2', '1.3 update 1', '1.4 update 1'],
        ...['1.x insert 3', '1.x update 2', '1.7 delete 1'],
      ].sort(),
    );
    expect((await events(`${name}_items`)).length).toBe(6);
    const left = await writer.query('SELECT FROM rowcast.changes');
    expect(left.rowCount).toBe(0);
  });

  test('many rows of many channels in one statement are numbered in order', async () => {
    const name = await tracked();
    await writer.query(`INSERT INTO ${name} SELECT i, i % 10, 'x' FROM generate_series(1, 1000) i`);
    await writer.query(`UPDATE ${name} SET status = 'y'`);
    const { rows } = await writer.query(
      `SELECT count(*)::int AS events, count(DISTINCT seq)::int AS seqs, min(seq)::int, max(seq)::int FROM rowcast_streams.${name} WHERE key = 3`,
    );
    expect(rows).toEqual([{ events: 200, seqs: 200, min: 1, max: 200 }]);
  });

  test('a migration may change and alter the table in one transaction; the next change finds a renamed key', async () => {
    const name = await tracked();
    await writer.query(`INSERT INTO ${name} VALUES (1, 7, 'placed')`);
    const epoch = async () =>
      (await writer.query('SELECT epoch FROM rowcast.streams WHERE name = $1', [name])).rows[0].epoch;
    const before = await epoch();
    await writer.query(`BEGIN; UPDATE ${name} SET status = 'x'; ALTER TABLE ${name} ADD COLUMN note text;
      UPDATE ${name} SET note = 'n'; ALTER TABLE ${name} ALTER note SET NOT NULL, ALTER id TYPE bigint;
      ALTER TABLE ${name} RENAME customer TO client; COMMIT`);
    await other.query(`UPDATE ${name} SET note = 'o'`);
    await writer.query(`UPDATE ${name} SET note = 'p'`);
    expect(await events(name)).toEqual([
      '7.1 insert 1',
      '7.2 update 1',
      '7.3 update 1',
      '7.4 update 1',
      '7.5 update 1',
    ]);
    expect(await epoch()).not.toBe(before);
    const { rows } = await writer.query(`SELECT row FROM rowcast_streams.${name} WHERE seq = 5`);
    expect(rows[0].row).toEqual({ id: 1, client: 7, status: 'x', note: 'p' });
    expect((await writer.query('SELECT rowcast.renew_tracks() AS failed')).rows).toEqual([{ failed: 0 }]);
  });

  test('partitions: written by their own names, moved between, new ones, truncated', async () => {
    const name = `parts${++tables}`;
    await writer.query(`CREATE TABLE ${name} (id int, region int, customer int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
      CREATE TABLE ${name}_1 PARTITION OF ${name} FOR VALUES IN (1)`);
    await writer.query(`SELECT rowcast.track('${name}', key => 'customer')`);
    await writer.query(`CREATE TABLE ${name}_2 PARTITION OF ${name} FOR VALUES IN (2)`);
    await writer.query(`INSERT INTO ${name}_1 VALUES (1, 1, 5)`);
    await writer.query(`INSERT INTO ${name} VALUES (2, 2, 5)`);
    await writer.query(`UPDATE ${name} SET region = 2 WHERE id = 1`);
    expect(await events(name)).toEqual([
      '5.1 insert ["1", "1"]',
      '5.2 insert ["2", "2"]',
      '5.3 delete ["1", "1"]',
      '5.4 insert ["1", "2"]',
    ]);
    const epochs = new Set<string>();
    const note = async () =>
      epochs.add((await writer.query('SELECT epoch FROM rowcast.streams WHERE name = $1', [name])).rows[0].epoch);
    await note();
    await writer.query('SELECT rowcast.renew_tracks()');
    await note();
    await writer.query(`TRUNCATE ${name}_2`);
    await note();
    await writer.query(`ALTER TABLE ${name} DETACH PARTITION ${name}_1; SELECT rowcast.renew_tracks()`);
    await note();
    expect(epochs.size).toBe(4);
  });

  test('no deadlock: a COMMIT locks its channels in the order of their keys, whatever order they were changed in', async () => {
    const name = await tracked("key => 'customer'", 'id int PRIMARY KEY, customer text, status text');
    // In the order of the alphabet, which is neither that of the changes nor that of the rows in the table.
    const keys = [...'gbjdhaecif'];
    const insert = `INSERT INTO ${name} SELECT i + $2, k, 'x' FROM unnest($1::text[]) WITH ORDINALITY AS u(k, i)`;
    await writer.query(insert, [keys, 0]);
    await writer.query(insert, [keys, 100]);
    const third = await connectWriter(database.url);
    const channels = `SELECT key FROM rowcast.channels JOIN rowcast.streams USING (stream_id) WHERE name = '${name}'`;
    await third.query(`BEGIN; ${channels} AND key = 'a' FOR UPDATE OF channels`);
    const [ids, reversed] = [keys.map((_, index) => index + 1), keys.map((_, index) => 100 + keys.length - index)];
    await Promise.all([writer.query('BEGIN'), other.query('BEGIN')]);
    // Different rows, so that only Rowcast could make one wait for the other.
    for (const id of ids) await writer.query(`UPDATE ${name} SET status = 'a' WHERE id = ${id}`);
    for (const id of reversed) await other.query(`UPDATE ${name} SET status = 'b' WHERE id = ${id}`);
    const commits = Promise.all([writer.query('COMMIT'), other.query('COMMIT')]);
    const waiting = `SELECT FROM pg_stat_activity WHERE pid = ANY ($1) AND wait_event_type = 'Lock'`;
    await until(async () => (await third.query(waiting, [[processId(writer), processId(other)]])).rowCount === 2, {
      what: 'both to wait for the first channel',
    });
    const free = await third.query<{ key: string }>(`${channels} FOR UPDATE OF channels SKIP LOCKED`);
    expect(free.rows.map(({ key }) => key).sort()).toEqual([...keys].sort());
    await third.query('COMMIT');
    await Promise.all([commits, third.end()]);
    expect((await events(name)).length).toBe(4 * keys.length);
  });

  test('a transaction holds no channel while it works, only while it commits', async () => {
    const name = await tracked();
    await writer.query(`INSERT INTO ${name} SELECT i, 1, 'x' FROM generate_series(1, 2) i`);
    await writer.query(`BEGIN; UPDATE ${name} SET status = 'slow' WHERE id = 1`);
    await other.query(`UPDATE ${name} SET status = 'fast' WHERE id = 2`);
    await writer.query('COMMIT');
    expect((await events(name)).slice(2)).toEqual(['1.3 update 2', '1.4 update 1']);
  });

  test('SET CONSTRAINTS ALL IMMEDIATE, and deferred triggers of the application that write more', async () => {
    const name = await tracked();
    await writer.query(`CREATE FUNCTION more_${name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO ${name} VALUES (NEW.id + 100, NEW.customer, 'more'); RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER more AFTER INSERT ON ${name} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (NEW.id < 100) EXECUTE FUNCTION more_${name}()`);
    await writer.query(`INSERT INTO ${name} VALUES (1, 1, 'x')`);
    await writer.query(
      `BEGIN; INSERT INTO ${name} VALUES (2, 1, 'x'); SET CONSTRAINTS ALL IMMEDIATE; INSERT INTO ${name} VALUES (3, 1, 'x'), (4, 1, 'x'); COMMIT`,
    );
    expect((await events(name)).map((event) => event.split(' ')[0])).toEqual(
      Array.from({ length: 8 }, (_, i) => `1.${i + 1}`),
    );
    expect((await writer.query('SELECT FROM rowcast.changes')).rowCount).toBe(0);
  });

  test('a prepared transaction is numbered when it is prepared, and holds its channels until the end', async () => {
    const name = await tracked();
    const { rows } = await writer.query<{ max: string }>('SHOW max_prepared_transactions');
    if (Object.values(rows[0] ?? {})[0] === '0') return;
    await writer.query(`BEGIN; INSERT INTO ${name} VALUES (1, 1, 'x'); PREPARE TRANSACTION '${name}'`);
    const waiting = other.query(`INSERT INTO ${name} VALUES (2, 1, 'x')`);
    await until(
      async () =>
        (
          await writer.query(`SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'`, [
            processId(other),
          ])
        ).rowCount,
      {
        what: 'the second writer to wait',
      },
    );
    await writer.query(`COMMIT PREPARED '${name}'`);
    await waiting;
    expect(await events(name)).toEqual(['1.1 insert 1', '1.2 insert 2']);
  });

  test('what the session of the writer has set does not change an event', async () => {
    const name = await tracked(
      "key => 'customer'",
      'id int PRIMARY KEY, customer int, at timestamptz, took interval, bytes bytea',
    );
    await writer.query(
      "SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'sql_standard'; SET bytea_output = 'escape'; SET datestyle = 'German'",
    );
    await writer.query(`INSERT INTO ${name} VALUES (1, 1, '2024-01-01T00:00:00Z', '1 day 02:00', '\\x00ff')`);
    await writer.query('RESET ALL');
    const { rows } = await writer.query(
      `SELECT row, (SELECT row FROM rowcast.${name}_rows('1', NULL, 10)) AS now FROM rowcast_streams.${name}`,
    );
    expect(rows[0].row).toEqual({
      id: 1,
      customer: 1,
      at: '2024-01-01T00:00:00+00:00',
      took: '1 day 02:00:00',
      bytes: '\\x00ff',
    });
    expect(rows[0].now).toEqual(rows[0].row);
  });

  test('several tracks of a table: by another key, all in one channel, some columns, old values', async () => {
    const name = await tracked("key => 'customer', old => 'none'");
    await writer.query(
      `SELECT rowcast.track('${name}', name => '${name}_all', columns => ARRAY['id', 'status'], old => 'all')`,
    );
    await writer.query(
      `INSERT INTO ${name} VALUES (1, 7, 'a'); UPDATE ${name} SET status = 'b'; UPDATE ${name} SET customer = 8`,
    );
    expect(await events(`${name}_all`)).toEqual(['all.1 insert 1', 'all.2 update 1']);
    const all = await writer.query(`SELECT row, old FROM rowcast_streams.${name}_all WHERE seq = 2`);
    expect(all.rows).toEqual([{ row: { id: 1, status: 'b' }, old: { id: 1, status: 'a' } }]);
    expect((await writer.query(`SELECT FROM rowcast_streams.${name} WHERE old IS NOT NULL`)).rowCount).toBe(0);
    await writer.query(`SELECT rowcast.untrack('${name}')`);
    await writer.query(`UPDATE ${name} SET status = 'c'`);
    expect((await events(`${name}_all`)).length).toBe(3);
  });

  test('position: what the snapshot of the statement does not see comes after it', async () => {
    const name = await tracked();
    const position = async (client: pg.Client) =>
      (
        await client.query<{ seq: string; rows: string }>(
          `SELECT split_part(rowcast.position('${name}:1'), '.', 2) AS seq, (SELECT count(*) FROM ${name}) AS rows`,
        )
      ).rows[0];
    expect(await position(writer)).toEqual({ seq: '0', rows: '0' });
    await writer.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    expect(await position(writer)).toEqual({ seq: '0', rows: '0' });
    await other.query(`INSERT INTO ${name} VALUES (1, 1, 'x')`);
    expect(await position(writer)).toEqual({ seq: '0', rows: '0' });
    await writer.query('COMMIT');
    expect(await position(writer)).toEqual({ seq: '1', rows: '1' });
  });

  test('REPEATABLE READ: the second of two such writers of a channel gets 40001, never a wrong number', async () => {
    const name = await tracked();
    await writer.query(`INSERT INTO ${name} VALUES (1, 1, 'x'), (2, 1, 'x')`);
    await writer.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
    await other.query(`BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE ${name} SET status = 'a' WHERE id = 1; COMMIT`);
    await writer.query(`UPDATE ${name} SET status = 'b' WHERE id = 2`);
    await expect(writer.query('COMMIT')).rejects.toMatchObject({ code: '40001' });
    await writer.query('ROLLBACK');
  });

  test('attach names track where rows have been updated', async () => {
    await writer.query('CREATE TABLE updated (id int NOT NULL, status text); INSERT INTO updated VALUES (1)');
    await writer.query("UPDATE updated SET status = 'x'");
    await writer.query('SELECT pg_stat_force_next_flush()'); // else it may be counted ten seconds later
    await until(
      async () => (await other.query("SELECT pg_stat_get_tuples_updated('updated'::regclass)::int AS n")).rows[0].n > 0,
      { what: 'the update to be counted' },
    );
    const notices: string[] = [];
    other.on('notice', ({ message = '', hint = '' }) => notices.push(`${message} ${hint}`));
    await other.query("SELECT rowcast.attach('updated', 'id')");
    expect(notices.join()).toMatch(
      /UPDATE of an attached table is no event.*rowcast\.track\('public.updated', key => 'id'\)/s,
    );
  });
});
