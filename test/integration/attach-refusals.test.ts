/** What cannot work as a stream is refused by attach, with the mend in the hint, or works. */
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
    await writer.query(
      `CREATE FUNCTION other_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := 'other'; RETURN NEW; END $$`,
    );
  });
  beforeEach(() =>
    writer.query(`
      DROP TABLE IF EXISTS notes, copy CASCADE;
      DELETE FROM rowcast.streams WHERE name NOT IN ('message', 'execution', 'venture');
      CREATE TABLE notes (id text NOT NULL, note text)`),
  );
  afterAll(async () => {
    await writer.end();
    await database.drop();
  });

  const attach = (key = 'id', table = 'notes') => writer.query('SELECT rowcast.attach($1::regclass, $2)', [table, key]);

  /** Refused with this code and mend; once mended, attached. */
  const refusedUntil = async (code: string, mend: RegExp, key?: string) => {
    const error = await attach(key).then(
      () => ({ code: 'none', hint: '' }),
      (refusal: pg.DatabaseError) => refusal,
    );
    expect(error).toMatchObject({ code, hint: expect.stringMatching(mend) });
    const statement = /(ALTER .*;)/.exec(error.hint ?? '')?.[1];
    if (statement === undefined) return;
    await writer.query(statement);
    await attach(key);
  };

  test('an unlogged table, also as a partition', async () => {
    await writer.query('ALTER TABLE notes SET UNLOGGED');
    await refusedUntil('42809', /^ALTER TABLE public.notes SET LOGGED;$/);
    await writer.query(`DROP TABLE notes; SELECT rowcast.detach('notes');
      CREATE TABLE notes (id text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
      CREATE UNLOGGED TABLE notes_now PARTITION OF notes DEFAULT`);
    await refusedUntil('42809', /^ALTER TABLE public.notes_now SET LOGGED;$/);
  });

  test('what has no rows of its own', async () => {
    await writer.query('CREATE VIEW notes_view AS SELECT * FROM notes');
    await expect(attach('id', 'notes_view')).rejects.toMatchObject({
      code: '42809',
      hint: expect.stringMatching(/^Attach the table/),
    });
  });

  test('a generated key', async () => {
    await writer.query(`ALTER TABLE notes ADD doubled text NOT NULL GENERATED ALWAYS AS (id || id) STORED`);
    await refusedUntil('55000', /BEFORE INSERT trigger/, 'doubled');
  });

  test.each(['INSERT', 'UPDATE', 'INSERT OR UPDATE'])('a trigger before %s that fires after ours', async (event) => {
    await writer.query(`CREATE TRIGGER zzz BEFORE ${event} ON notes FOR EACH ROW EXECUTE FUNCTION other_key()`);
    await refusedUntil('55000', /ALTER TRIGGER zzz ON public.notes RENAME TO a_zzz;$/);
    await writer.query(`INSERT INTO notes VALUES ('mine')`);
    const { rows } = await writer.query('SELECT id, seq::int FROM notes');
    expect(rows).toEqual([{ id: event === 'UPDATE' ? 'mine' : 'other', seq: 1 }]);
  });

  test('a copy of a stream (LIKE), until its columns are dropped', async () => {
    await attach();
    await writer.query('CREATE TABLE copy (LIKE notes INCLUDING ALL)');
    await expect(attach('id', 'copy')).rejects.toMatchObject({
      code: '42701',
      hint: expect.stringMatching(/copy of a stream, drop them/),
    });
    await writer.query('ALTER TABLE copy DROP COLUMN seq, DROP COLUMN tx');
    await attach('id', 'copy');
    await writer.query(`INSERT INTO copy VALUES ('a')`);
  });

  test.each([
    'floor_at',
    'last_seq',
    'this_tx',
    'key',
    'floor',
    'stream_id',
    't',
    'd',
    'deleted',
    'excluded',
    'new',
    'old',
  ])('a key column named %s works, also in REPEATABLE READ', async (column) => {
    await writer.query(
      `ALTER TABLE notes RENAME COLUMN id TO ${column === 'new' || column === 'old' ? `"${column}"` : column}`,
    );
    await writer.query(`INSERT INTO notes VALUES ('a', 'was there')`);
    await attach(column);
    await writer.query(`INSERT INTO notes VALUES ('a'), ('a')`);
    await writer.query(`BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO notes VALUES ('a'), ('b'); COMMIT`);
    await writer.query(`DELETE FROM notes WHERE seq < 3; SELECT rowcast.prune('notes', keep_rows => 1)`);
    const { rows } = await writer.query(
      `SELECT key, floor::int FROM rowcast.channels c JOIN rowcast.streams USING (stream_id) WHERE name = 'notes' ORDER BY key`,
    );
    expect(rows).toEqual([
      { key: 'a', floor: 4 },
      { key: 'b', floor: 2 },
    ]);
  });

  test('a key that no channel name has room for, on writing and in the rows that are there', async () => {
    const longest = 512 - 'notes:'.length;
    await attach();
    const insert = (key: string) => writer.query('INSERT INTO notes (id) VALUES ($1)', [key]);
    await expect(insert('')).rejects.toMatchObject({ code: '23514', column: 'id' });
    await expect(insert('🎉'.repeat(longest + 1))).rejects.toMatchObject({
      code: '23514',
      message: `a key of the stream notes has between 1 and ${longest} characters, and not ${longest + 1}`,
    });
    await insert('🎉'.repeat(longest));
    await insert(' ');
    await writer.query(`DROP TABLE notes; SELECT rowcast.detach('notes'); CREATE TABLE notes (id text NOT NULL)`);
    await insert('');
    await expect(attach()).rejects.toMatchObject({
      code: '23514',
      hint: expect.stringMatching(`between 1 and ${longest}`),
    });
  });

  test('a table without a primary key beside a publication of all tables is attached, pruned and detached', async () => {
    await writer.query(
      `INSERT INTO notes VALUES ('a', 'one'), ('a', 'two'); CREATE PUBLICATION everything FOR ALL TABLES`,
    );
    try {
      await attach();
      await writer.query(`INSERT INTO notes VALUES ('a', 'three'); SELECT rowcast.prune('notes', keep_rows => 1)`);
      const { rows } = await writer.query('SELECT note, seq::int FROM notes');
      expect(rows).toEqual([{ note: 'three', seq: 3 }]);
      await writer.query(`SELECT rowcast.detach('notes')`);
      const identity = await writer.query(`SELECT relreplident FROM pg_class WHERE oid = 'notes'::regclass`);
      expect(identity.rows).toEqual([{ relreplident: 'd' }]);
      await writer.query(`DROP TABLE notes; CREATE TABLE notes (id text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
        CREATE TABLE notes_now PARTITION OF notes DEFAULT; INSERT INTO notes VALUES ('a', 'today')`);
      await attach();
    } finally {
      await writer.query('DROP PUBLICATION everything');
    }
  });

  test('a key grows from int to bigint, and keeps its numbering', async () => {
    await writer.query('ALTER TABLE notes ALTER COLUMN id TYPE int USING 0');
    await attach();
    await writer.query(`INSERT INTO notes VALUES (1), (2), (1)`);
    const state = async () =>
      (
        await writer.query(
          `SELECT name, epoch, (SELECT json_agg(n ORDER BY id, seq) FROM notes n WHERE id < 3) AS rows FROM rowcast.streams WHERE name = 'notes'`,
        )
      ).rows;
    const before = await state();
    await writer.query(`
      BEGIN;
      DROP TRIGGER zz_rowcast_keep ON notes;
      ALTER TABLE notes ALTER COLUMN id TYPE bigint;
      SELECT rowcast.attach('notes', 'id');
      COMMIT`);
    expect(await state()).toEqual(before);
    await writer.query(`INSERT INTO notes VALUES (1), (9007199254740993)`);
    const { rows } = await writer.query('SELECT id, seq::int FROM notes ORDER BY id, seq');
    expect(rows.map(({ id, seq }) => `${id}/${seq}`)).toEqual(['1/1', '1/2', '1/3', '2/1', '9007199254740993/1']);
    await expect(writer.query('UPDATE notes SET id = 5')).rejects.toMatchObject({ code: '23001' });
  });
});
