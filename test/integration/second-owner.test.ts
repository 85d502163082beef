import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { migrate } from '../../server/postgres/migrate.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/until.js';
import { connectWriter, newExecution } from '../support/writer.js';

/** By the rights of docs/operations/roles.md: `shop` owns tables and attaches them, `plain` has no right at all, `app` is a service. */
const SHOP = `shop_${process.pid}`;
const PLAIN = `plain_${process.pid}`;
const APP = `app_${process.pid}`;

let database: TestDatabase;
let admin: pg.Client;
let shop: pg.Client;
let plain: pg.Client;
let app: pg.Client;
let execution: string;

beforeAll(async () => {
  database = await createDatabase();
  admin = await connectWriter(database.url);
  await admin.query(`
    CREATE ROLE ${SHOP} LOGIN; CREATE ROLE ${PLAIN} LOGIN; CREATE ROLE ${APP} LOGIN IN ROLE service_role;
    GRANT CREATE ON SCHEMA public TO ${SHOP};
    GRANT USAGE, CREATE ON SCHEMA rowcast TO ${SHOP};
    GRANT SELECT, INSERT, UPDATE, DELETE ON rowcast.streams, rowcast.channels, rowcast.retention TO ${SHOP}`);
  const as = (role: string) => connectWriter(database.url.replace('postgres@', `${role}@`));
  [shop, plain, app] = [await as(SHOP), await as(PLAIN), await as(APP)];
  execution = await newExecution(admin);
  await shop.query(`
    CREATE TABLE carts (cart_id bigint NOT NULL, item text);
    SELECT rowcast.attach('carts', 'cart_id');
    INSERT INTO carts SELECT 1, n::text FROM generate_series(1, 50) n`);
});
afterAll(async () => {
  for (const client of [shop, plain, app]) await client?.end();
  for (const role of [SHOP, PLAIN, APP]) await admin?.query(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
  await admin?.end();
  await database?.drop();
});

const streams = async () =>
  (await admin.query(`SELECT name, epoch, guard, key_column FROM rowcast.streams WHERE name <> 'carts' ORDER BY 1`))
    .rows;

test('I5: it changes nothing of the streams of others, and sees none of their channels', async () => {
  await admin.query(`INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, 'x')`, [execution]);
  const before = await streams();
  for (const change of [
    `UPDATE rowcast.streams SET name = 'mine' WHERE name = 'venture'`,
    `UPDATE rowcast.streams SET guard = 'public.evil' WHERE name = 'execution'`,
    'UPDATE rowcast.streams SET epoch = DEFAULT',
    'UPDATE rowcast.channels SET floor = 1000',
    `DELETE FROM rowcast.streams WHERE name <> 'carts'`,
    'DELETE FROM rowcast.channels WHERE stream_id <> (SELECT stream_id FROM rowcast.streams WHERE name = $$carts$$)',
  ]) {
    await shop.query(change);
  }
  expect(await streams()).toEqual(before);
  const { rows } = await admin.query(
    `SELECT c.key, c.floor FROM rowcast.channels c JOIN rowcast.streams s USING (stream_id) WHERE s.name = 'execution'`,
  );
  expect(rows).toEqual([{ key: execution, floor: '1' }]);
  expect((await shop.query('SELECT key FROM rowcast.channels')).rows).toEqual([{ key: '1' }]);
  await expect(shop.query(`SELECT rowcast.detach('execution')`)).rejects.toThrow();
  await expect(shop.query(`SELECT rowcast.guard('execution', 'rowcast.subject')`)).rejects.toThrow();
  await expect(shop.query(`SELECT rowcast.new_epoch('execution')`)).rejects.toThrow();
});

test('I5: what it hangs on its table runs as itself, also when a gateway prunes it', async () => {
  await admin.query(`SELECT rowcast.retain('carts', keep_rows => 10)`);
  await shop.query(`
    CREATE TABLE loot (who text); GRANT ALL ON loot TO PUBLIC;
    CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO public.loot VALUES (current_user); RETURN OLD; END $$;
    CREATE TRIGGER evil BEFORE DELETE ON carts FOR EACH ROW EXECUTE FUNCTION public.evil()`);
  await admin.query('SET ROLE rowcast_gateway');
  await admin.query('SELECT rowcast.carts_prune()').finally(() => admin.query('RESET ROLE'));
  expect((await shop.query('SELECT who, count(*)::int AS rows FROM loot GROUP BY 1')).rows).toEqual([
    { who: SHOP, rows: 40 },
  ]);
});

test('I5: a table that a superuser attaches for its owner gets functions that run as the owner', async () => {
  await shop.query('CREATE TABLE boxes (box int NOT NULL)');
  await admin.query(`SELECT rowcast.attach('boxes', 'box')`);
  const { rows } = await admin.query(
    `SELECT DISTINCT proowner::regrole::text AS owner FROM pg_proc WHERE prosecdef AND proname LIKE 'boxes%'`,
  );
  expect(rows).toEqual([{ owner: SHOP }]);
  await shop.query('INSERT INTO boxes VALUES (1); TRUNCATE boxes; INSERT INTO boxes VALUES (1)');
});

test('I5: what it hangs on a table that a superuser tracks runs as itself, and it stages changes for no other', async () => {
  await shop.query(`
    CREATE TABLE spied (who text); GRANT ALL ON spied TO PUBLIC;
    CREATE TYPE spy AS ENUM ('a', 'b');
    CREATE FUNCTION public.spy_json(spy) RETURNS json LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO public.spied VALUES (current_user); RETURN '1'; END $$;
    CREATE CAST (spy AS json) WITH FUNCTION public.spy_json;
    CREATE TABLE lamps (id int PRIMARY KEY, room int, state spy)`);
  await admin.query(`SELECT rowcast.track('lamps', key => 'room'); CREATE TABLE desks (id int PRIMARY KEY);
    SELECT rowcast.track('desks')`);
  await shop.query(`GRANT INSERT, SELECT, UPDATE ON lamps TO ${APP}; INSERT INTO lamps VALUES (1, 1, 'a')`);
  await app.query(`UPDATE lamps SET state = 'b'`);
  const { rows } = await shop.query('SELECT DISTINCT who FROM spied');
  expect(rows).toEqual([{ who: SHOP }]);
  await shop.query('ALTER TABLE lamps RENAME room TO place');
  await app.query('UPDATE lamps SET id = 2');
  const events = await admin.query(
    `SELECT format('%s.%s %s', key, seq, op) AS event FROM rowcast_streams.lamps ORDER BY seq`,
  );
  expect(events.rows.map(({ event }) => event)).toEqual(['1.1 insert', '1.2 update', '1.3 delete', '1.4 insert']);
  const stage = (stream: string, tx: string) =>
    shop.query(`INSERT INTO rowcast.changes (tx, stream_id, key, op, id)
      SELECT ${tx}, s.stream_id, 'all', 'insert', 'x' FROM rowcast.streams s WHERE s.name = '${stream}'`);
  await expect(stage('desks', 'pg_current_xact_id()')).rejects.toMatchObject({ code: '42501' });
  await expect(stage('lamps', `'3'::xid8`)).rejects.toMatchObject({ code: '42501' });
  await expect(shop.query(`SELECT rowcast.head_of('desks:all')`)).rejects.toMatchObject({ code: '42501' });
  expect((await shop.query(`SELECT split_part(rowcast.head_of('lamps:1'), '.', 2) AS head`)).rows).toEqual([
    { head: '4' },
  ]);
});

test('I5: a login without rights holds the locks of Rowcast, and migrations that have nothing to do go on', async () => {
  await plain.query('SELECT pg_advisory_lock(1919907683, n) FROM generate_series(1, 3) n');
  expect(await migrate(database.url)).toEqual([]);
  await plain.query('SELECT pg_advisory_unlock_all()');
});

test('I5: it hears that rights have changed, and not whose', async () => {
  const heard: (string | undefined)[] = [];
  plain.on('notification', ({ payload }) => heard.push(payload));
  await plain.query('LISTEN rowcast');
  await admin.query(
    `INSERT INTO venture_members SELECT venture_id, 'person@example.com', 'viewer' FROM ventures LIMIT 1`,
  );
  await until(() => heard.length > 0, { what: 'the bell' });
  expect(heard[0]).toMatch(/^access:[0-9a-f]{64}$/);
});

test('the audit names the login whose claims no gateway has checked', async () => {
  await app.query(`SELECT set_config('request.jwt.claims', '{"sub":"ann"}', false)`);
  await app.query(`UPDATE agent_executions SET status = 'running' WHERE execution_id = $1`, [execution]);
  const { rows } = await admin.query('SELECT actor FROM execution_audit ORDER BY seq DESC LIMIT 1');
  expect(rows).toEqual([{ actor: `ann (${APP})` }]);
});
