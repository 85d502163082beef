import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { connectWriter, newExecution } from '../support/writer.js';

/**
 * What belongs to the application names its tables without their schema, as most applications do, and is found by the
 * search_path that the owner of the table has. The session that calls Rowcast has another one.
 */
let database: TestDatabase;
let owner: pg.Client;
let caller: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  owner = await connectWriter(database.url);
  await owner.query(`
    ALTER DATABASE ${new URL(database.url).pathname.slice(1)} SET search_path = app, "$user", public;
    CREATE SCHEMA app;
    CREATE TABLE app.seen (operation text NOT NULL, relation text NOT NULL);
    CREATE TABLE app.orders (customer text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
    SELECT rowcast.attach('app.orders', 'customer');
    CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO seen VALUES (TG_OP, TG_TABLE_NAME); RETURN NULL; END $$;
    CREATE FUNCTION app.may_read(key text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
      $$ BEGIN RETURN EXISTS (SELECT FROM seen WHERE relation = key); END $$;
    GRANT USAGE ON SCHEMA app TO authenticated;
    SELECT rowcast.guard('orders', 'app.may_read')`);
  for (const [event, table] of [
    ['INSERT', 'public.agent_execution_logs'],
    ['INSERT', 'public.execution_audit'],
    ['DELETE', 'app.orders'],
    ['INSERT', 'rowcast.messages'],
  ]) {
    await owner.query(`CREATE TRIGGER note AFTER ${event} ON ${table} EXECUTE FUNCTION app.note()`);
  }
  const url = new URL(database.url);
  url.searchParams.set('options', '-c search_path=pg_catalog');
  caller = await connectWriter(url.href);
});
afterAll(async () => {
  await owner.end();
  await caller.end();
  await database.drop();
});

async function seenBy(work: () => Promise<unknown>): Promise<string[]> {
  await owner.query('TRUNCATE app.seen');
  await work();
  const { rows } = await owner.query<{ line: string }>(
    `SELECT DISTINCT operation || ' ' || relation AS line FROM app.seen ORDER BY 1`,
  );
  return rows.map(({ line }) => line);
}

test('triggers that a change of status and a metric fire', async () => {
  await owner.query('SET search_path = app, public');
  const execution = await newExecution(owner);
  const logs = ['INSERT agent_execution_logs'];
  const change = `UPDATE public.agent_executions SET status = 'running' WHERE execution_id = $1`;
  expect(await seenBy(() => caller.query(change, [execution]))).toEqual([...logs, 'INSERT execution_audit']);
  const metric = `INSERT INTO public.execution_metrics (execution_id, metric_name, metric_value) VALUES ($1, 'n', 1)`;
  expect(await seenBy(() => caller.query(metric, [execution]))).toEqual(logs);
});

test('triggers that a policy of retention fires, and the path of the caller is as before', async () => {
  await owner.query(`INSERT INTO app.orders VALUES ('ann'), ('bob'); SELECT rowcast.retain('orders', keep_rows => 0)`);
  const prune = () => caller.query(`SELECT rowcast.orders_prune()`);
  expect(await seenBy(prune)).toEqual(['DELETE orders']);
  expect((await caller.query('SHOW search_path')).rows).toEqual([{ search_path: 'pg_catalog' }]);
});

test('a guard that a gateway asks', async () => {
  await owner.query(`INSERT INTO app.seen VALUES ('x', 'ann')`);
  const decide = `SELECT allowed, problem FROM rowcast.decide($1, $2, $3)`;
  const roles = ['authenticated', 'authenticated'];
  const { rows } = await caller.query(decide, [roles, ['{}', '{}'], ['orders:ann', 'orders:eve']]);
  expect(rows).toEqual([
    { allowed: true, problem: null },
    { allowed: false, problem: null },
  ]);
});

test('a trigger that publish fires runs with the path of the session, as that of every INSERT', async () => {
  const publish = `SELECT rowcast.publish('message:lobby', 'x')`;
  await expect(caller.query(publish)).rejects.toThrow('relation "seen" does not exist');
  expect(await seenBy(() => owner.query(publish))).toEqual(['INSERT messages']);
});

test('what rights of an owner protect is not found by the path of a caller', async () => {
  await caller.query(`
    CREATE TYPE pg_temp.uuid AS (fake int);
    CREATE TABLE pg_temp.channels (stream_id int, key text, floor bigint);
    CREATE FUNCTION pg_temp.pg_try_advisory_lock_shared(int, int) RETURNS boolean LANGUAGE sql RETURN false`);
  await caller.query('SET search_path = pg_temp, pg_catalog');
  await caller.query(`INSERT INTO app.orders VALUES ('ann')`);
  expect((await owner.query(`SELECT max(seq)::int AS seq FROM app.orders`)).rows).toEqual([{ seq: 2 }]);
});
