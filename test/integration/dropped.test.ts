/** Objects that were dropped beside Rowcast: doctor names them, migrate makes again what has lost all its tables. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type pg from 'pg';
import { installedExtensions } from '../../server/postgres/extensions.js';
import { migrate } from '../../server/postgres/migrate.js';
import { objectsOf } from '../../server/postgres/missing-objects.js';
import { CORE, migrationsOf } from '../../server/postgres/sql-sets.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { complaints, findingsAt, fixFor } from '../support/doctor.js';
import { follow } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { connectWriter } from '../support/writer.js';

const ORDERS = `CREATE TABLE orders (order_id int NOT NULL, note text); SELECT rowcast.attach('orders', 'order_id')`;

let database: TestDatabase;
let writer: pg.Client;

beforeEach(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
});
afterEach(async () => {
  await writer.end();
  await database.drop();
});

test('the files say what they make: every table, function and type of the database', async () => {
  const { rows } = await writer.query<{ object: string }>(`
    SELECT 'table ' || c.oid::regclass AS object FROM pg_class c
     WHERE c.relkind IN ('r', 'p') AND c.relnamespace IN ('rowcast'::regnamespace, 'public'::regnamespace)
    UNION SELECT 'function rowcast.' || proname FROM pg_proc WHERE pronamespace = 'rowcast'::regnamespace
    UNION SELECT 'type ' || t.oid::regtype FROM pg_type t WHERE t.typtype = 'e' AND t.typnamespace = 'rowcast'::regnamespace`);
  const made = [
    ...new Map([[CORE, ''], ...(await installedExtensions(database.url)).map((e) => [e.name, e.schema] as const)]),
  ]
    .flatMap(([set, schema]) => objectsOf(migrationsOf(set), schema ?? ''))
    .map(({ kind, name }) => `${kind} ${name.replace(/^public\./, '')}`);
  // Those of each stream, and those that depend on what the database has, are made by functions.
  const byFunctions =
    /_(number|raise_floor|can_read|newest|prune)$|rowcast\.(venture_(exists|is_open)|number_changes)$/;
  const there = rows.map(({ object }) => object).filter((object) => !byFunctions.test(object));
  expect([...new Set(made)].sort()).toEqual(there.sort());
});

test('DROP SCHEMA public CASCADE: migrate makes the extensions again, and a table takes up its stream', async () => {
  await writer.query(`${ORDERS}; INSERT INTO orders VALUES (7, 'before'), (7, 'before')`);
  const gateway = await startTestGateway(database.url);
  const client = testClient({ url: gateway.url });
  const order = follow(client, 'orders:7', 'start');
  await order.count(2);

  const position = order.subscription.position ?? '';
  await writer.query('DROP SCHEMA public CASCADE');
  const findings = await findingsAt(database.url);
  expect(complaints(findings).join('\n')).toMatch(
    /migrations fault: executions: dropped, and missing: .*table public\.agent_executions/,
  );
  expect(fixFor(findings, /^migrations fault: executions/)).toMatch(/^npx rowcast migrate makes them again/);
  expect((await migrate(database.url)).some((name) => name.startsWith('executions/'))).toBe(true);
  expect(await migrate(database.url)).toEqual([]);

  await writer.query(`${ORDERS}; INSERT INTO orders VALUES (7, 'after')`);
  const again = follow(client, 'orders:7', position);
  await again.live();
  await writer.query(`INSERT INTO orders VALUES (7, 'live')`);
  await again.count(1);
  expect([again.resets, again.events.map(({ row }) => row.note)]).toEqual([
    [expect.stringMatching(/^epoch /)],
    ['live'],
  ]);
  expect(complaints(await findingsAt(database.url))).toEqual([]);
  client.close();
  await gateway.stop();
}, 60_000);

test('a single table that was dropped is named, and migrate leaves the others as they are', async () => {
  await writer.query('DROP TABLE execution_metrics CASCADE; DROP FUNCTION rowcast.sweep');
  expect(await migrate(database.url)).toEqual([]);
  const findings = await findingsAt(database.url);
  expect(complaints(findings)).toEqual(
    expect.arrayContaining([
      'migrations fault: core: dropped, and missing: function rowcast.sweep',
      'migrations fault: executions: dropped, and missing: table public.execution_metrics',
    ]),
  );
  expect(fixFor(findings, /^migrations fault: executions/)).toMatch(/backup; or give up .*--drop-data/);
});
