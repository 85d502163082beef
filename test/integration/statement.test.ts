import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { z } from 'zod';
import { type ConnectedDatabase, connectDatabase } from '../../server/postgres/connect-database.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';

const none = z.unknown();
let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

describe.each([true, false])('a statement in a transaction of its own, with pipeline: %p', (pipeline) => {
  let pool: pg.Pool;
  let connected: ConnectedDatabase;
  const pid = async () =>
    (await connected.statement('SELECT pg_backend_pid() AS pid', [], z.object({ pid: z.int() })))[0];

  beforeAll(async () => {
    pool = new pg.Pool({
      connectionString: database.url,
      application_name: TEST_SESSION,
      max: 1,
      pipeline,
      options: '-c default_transaction_isolation=serializable',
    });
    pool.on('error', () => {});
    connected = connectDatabase(pool);
    await connected.statement('CREATE TABLE IF NOT EXISTS once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)', [], none);
  });
  afterAll(() => pool.end());

  test('it is READ COMMITTED, whatever the login has for a default', async () => {
    const text = `SELECT current_setting('transaction_isolation') AS level, $1::int + 1 AS sum`;
    const row = z.object({ level: z.string(), sum: z.int() });
    expect(await connected.statement(text, [1], row)).toEqual([{ level: 'read committed', sum: 2 }]);
  });

  test('one that fails rejects with its error, and leaves the connection as it was', async () => {
    const before = await pid();
    await expect(connected.statement('SELECT 1 / $1::int', [0], none)).rejects.toThrow('division by zero');
    expect(await pid()).toEqual(before);
  });

  test('one whose COMMIT fails rejects', async () => {
    const twice = 'INSERT INTO once SELECT 1 FROM generate_series(1, $1::int)';
    await expect(connected.statement(twice, [2], none)).rejects.toThrow('duplicate key');
    expect(await connected.statement('SELECT n FROM once', [], none)).toEqual([]);
  });

  test('one whose connection is lost rejects with Unavailable, and the next one has another connection', async () => {
    const lost = connected.statement('SELECT pg_terminate_backend(pg_backend_pid())', [], none);
    await expect(lost).rejects.toMatchObject({ name: 'Unavailable' });
    expect(await pid()).toBeDefined();
  });
});
