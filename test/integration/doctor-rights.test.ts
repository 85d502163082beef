import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { complaints, findingsAt, fixFor, foundBy } from '../support/doctor.js';
import { connectWriter, processId } from '../support/writer.js';

let database: TestDatabase;
let writer: pg.Client;
let roles: string[];

beforeEach(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  roles = [];
});
afterEach(async () => {
  for (const role of roles) await writer.query(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
  await writer.end();
  await database.drop();
});

const newRole = async (name: string, attributes = '') => {
  const role = `${name}_${processId(writer)}`;
  await writer.query(`CREATE ROLE ${role} LOGIN ${attributes}`);
  roles.push(role);
  return role;
};
const findingsAs = (role = 'postgres') => findingsAt(Object.assign(new URL(database.url), { username: role }).href);

/** Makes something wrong, expects the one complaint, does what it says, and expects that all is well again. */
async function breaksAndMends(sql: string, complaint: RegExp): Promise<void> {
  await writer.query(sql);
  const all = await findingsAs();
  expect(complaints(all)).toEqual([expect.stringMatching(complaint)]);
  await writer.query(fixFor(all, complaint).replace(/^[^;]*: (?=SELECT)/, ''));
  expect(complaints(await findingsAs())).toEqual([]);
}

test('the login of a gateway: a member of rowcast_gateway is enough, and is what it takes', async () => {
  const role = await newRole('gateway', 'IN ROLE rowcast_gateway');
  const member = await findingsAs(role);
  expect(complaints(member)).toEqual([]);
  expect(foundBy(member, 'rights')).toEqual([`logs in as ${role} and reads and writes as rowcast_gateway`]);
  expect(foundBy(await findingsAs(), 'rights')).toEqual([
    'logs in as postgres, a superuser, and reads and writes as rowcast_gateway',
  ]);
  await writer.query(`REVOKE rowcast_gateway FROM ${role}`);
  const stranger = await findingsAs(role);
  expect(complaints(stranger)).toEqual([
    `migrations fault: ${role} may not read rowcast.migrations`,
    `rights fault: ${role} may not SET ROLE to rowcast_gateway: no gateway can start with it`,
    ...['streams', 'tracks', 'readable', 'access', 'retention'].map((name) =>
      expect.stringMatching(`^${name} skipped: .*permission denied to`),
    ),
  ]);
  await writer.query(fixFor(stranger, /^rights/));
  expect(complaints(await findingsAs(role))).toEqual([]);
});

test('rights that a migration gave and that were taken away', async () => {
  const gone = /rights that the migrations granted are missing: INSERT ON rowcast.tickets TO rowcast_gateway/;
  await breaksAndMends('REVOKE INSERT ON rowcast.tickets FROM rowcast_gateway', gone);
  await breaksAndMends(
    'REVOKE EXECUTE ON FUNCTION rowcast.decide FROM rowcast_gateway',
    /EXECUTE ON FUNCTION .*decide/,
  );
  await breaksAndMends('REVOKE USAGE ON SCHEMA rowcast FROM authenticated', /USAGE ON SCHEMA rowcast TO authenticated/);
});

test('who may read a stream is said of each, and is not what it was when a table has changed', async () => {
  await writer.query(`
    CREATE SCHEMA app;
    CREATE TABLE app.news (topic text NOT NULL);
    SELECT rowcast.attach('app.news', 'topic');
    GRANT USAGE ON SCHEMA app TO anon, authenticated;
    GRANT SELECT ON app.news TO anon`);
  const readers = async () => foundBy(await findingsAs(), 'access');
  expect(await readers()).toEqual([
    'message can be read by services only',
    'execution can be read by services, and by users according to the policies of public.agent_executions',
    'venture can be read by services, and by users according to the policies of public.ventures',
    'news can be read by services, and by everyone, also without a token',
  ]);
  await writer.query('REVOKE SELECT ON app.news FROM anon; GRANT SELECT ON app.news TO authenticated');
  expect((await readers()).at(-1)).toBe('news can be read by services, and by every user');
  await writer.query('ALTER TABLE app.news ENABLE ROW LEVEL SECURITY');
  expect((await readers()).at(-1)).toBe('news can be read by services only');
  await writer.query(`CREATE TABLE app.projects (id int PRIMARY KEY); ALTER TABLE app.projects ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON app.projects FOR SELECT TO authenticated USING (id > 0); GRANT SELECT ON app.projects TO authenticated;
    CREATE TABLE app.notes (project int NOT NULL REFERENCES app.projects); SELECT rowcast.attach('app.notes', 'project')`);
  await breaksAndMends('ALTER TABLE app.projects RENAME TO works', /missing or out of date/);
  expect((await readers()).at(-1)).toBe(
    'notes can be read by services, and by users according to the policies of app.works',
  );
  await breaksAndMends('DROP FUNCTION rowcast.news_can_read', /^access fault: news: its access function is missing/);
});

test('a guard that users may not call, and one that is gone', async () => {
  await writer.query(`
    CREATE SCHEMA app;
    CREATE FUNCTION app.may_read(key text) RETURNS boolean LANGUAGE sql RETURN true`);
  await breaksAndMends(
    `SELECT rowcast.guard('message', 'app.may_read')`,
    /users may not execute its guard app\.may_read/,
  );
  expect(foundBy(await findingsAs(), 'access')[0]).toBe(
    'message can be read by services, and by users according to app.may_read',
  );
  await breaksAndMends(
    'DROP FUNCTION app.may_read',
    /there is no function app\.may_read\(text\) that returns a boolean/,
  );
});

test('a table whose pruning belongs to another role', async () => {
  const [shop, migrator] = [await newRole('shop'), await newRole('migrator')];
  await writer.query(`
    CREATE TABLE orders (shop int NOT NULL);
    SELECT rowcast.attach('orders', 'shop');
    SELECT rowcast.retain('orders', keep_rows => 1);
    ALTER TABLE orders OWNER TO ${shop};
    SELECT rowcast.attach('orders', 'shop');
    GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA rowcast TO ${migrator};
    GRANT ALL ON SCHEMA rowcast TO ${migrator}`);
  await breaksAndMends(
    `ALTER FUNCTION rowcast.orders_prune OWNER TO ${migrator}`,
    /^retention warning: orders is not pruned: orders belongs to shop_\d+, and its functions to migrator_\d+/,
  );
  await writer.query(`INSERT INTO orders VALUES (1), (1)`);
  expect((await writer.query('SELECT rowcast.orders_prune()')).rows).toEqual([{ orders_prune: '1' }]);
});
