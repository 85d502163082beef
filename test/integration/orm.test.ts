/** Drizzle and Prisma see no change of a tracked table: it gets triggers, and nothing else. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { skips } from '../support/installed.mjs';
import { ormHome } from '../support/orm-packages.mjs';
import { run as execute } from '../support/packages.js';
import { connectWriter } from '../support/writer.js';

const home = ormHome();
const what = 'drizzle-kit push and prisma db pull propose no change to a tracked table';
const run = skips(what, home === null ? 'not installed (npm run pretest)' : null) ? test.skip : test;

let database: TestDatabase;
let writer: pg.Client;
beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  await writer.end();
  await database.drop();
});

interface Seen {
  readonly prisma: { readonly schema: string; readonly warnings: string | null };
  readonly drizzle: { readonly same: readonly string[]; readonly other: readonly string[] };
}

async function seen(): Promise<Seen> {
  const { code, output, errors } = await execute(process.cwd(), [
    process.execPath,
    join(import.meta.dirname, '../support/orm.mjs'),
    home ?? '',
    database.url,
  ]);
  expect({ code, errors: code === 0 ? '' : errors }).toEqual({ code: 0, errors: '' });
  return JSON.parse(output) as Seen;
}

run(what, async () => {
  await writer.query(`CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL);
    CREATE INDEX ON orders (customer_id)`);
  const before = await seen();
  expect(before.drizzle.same).toEqual([]);
  expect(before.drizzle.other).toEqual(['ALTER TABLE "orders" ADD COLUMN "note" text;']);
  expect(before.prisma.schema).toContain('model orders {');
  await writer.query(`SELECT rowcast.track('orders', key => 'customer_id'), rowcast.track('orders', name => 'every');
    INSERT INTO orders VALUES (1, 2, 'placed')`);
  expect(await seen()).toEqual(before);
});
