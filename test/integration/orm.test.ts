/**
 * ORMs see no change of a tracked table, which gets triggers and nothing else. For an attached one they propose none where it is
 * declared as the page says: its blocks are what is tried here.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { transformSync } from 'esbuild';
import type pg from 'pg';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { lacks, skips } from '../support/installed.mjs';
import { ormHome } from '../support/orm-packages.mjs';
import { run as execute } from '../support/packages.js';
import { connectWriter } from '../support/writer.js';

const home = ormHome();
const lacking = home === null ? 'not installed (npm run pretest)' : null;
const run = skips('Drizzle and Prisma', lacking) ? test.skip : test;
const django = lacks('Django', 'django') ? test.skip : test;

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/operations/writers.md'), 'utf8');

/** The blocks of a section of the page in one language. */
function blocks(section: string, language: string): string[] {
  const [, text = ''] = PAGE.split(`### ${section}\n`);
  const [own = ''] = text.split('\n### ');
  return [...own.matchAll(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, 'g'))].map(([, block = '']) => block);
}

let database: TestDatabase;
let writer: pg.Client;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rowcast-orm-'));
  database = await createDatabase();
  writer = await connectWriter(database.url);
});
afterEach(async () => {
  await writer.query('DROP TABLE orders');
});
afterAll(async () => {
  await writer.end();
  await database.drop();
  rmSync(folder, { recursive: true });
});

interface Seen {
  readonly prisma: { readonly schema: string; readonly warnings: string | null; readonly diff: string };
  /** The statements of `drizzle-kit push`, by the name of the table in the module. */
  readonly drizzle: Readonly<Record<string, readonly string[]>>;
}

/** `tables`: a module of Drizzle. `datamodel`: models of Prisma. */
async function seen(tables: string, datamodel = ''): Promise<Seen> {
  // Node takes a module's dependencies from the folders above it.
  const module = join(home ?? '', `tables-${process.pid}.mjs`);
  const models = join(folder, 'schema.prisma');
  writeFileSync(module, transformSync(tables, { loader: 'ts' }).code);
  writeFileSync(models, datamodel);
  const program = join(import.meta.dirname, '../support/orm.mjs');
  const { code, output, errors } = await execute(process.cwd(), [
    process.execPath,
    program,
    home ?? '',
    database.url,
    module,
    models,
  ]);
  rmSync(module);
  expect({ code, errors: code === 0 ? '' : errors }).toEqual({ code: 0, errors: '' });
  return JSON.parse(output) as Seen;
}

const TRACKED = `
  import { index, integer, pgTable, text } from 'drizzle-orm/pg-core';
  const columns = { id: integer().primaryKey(), customer_id: integer().notNull(), status: text().notNull() };
  const tableOf = (more) => pgTable('orders', { ...columns, ...more }, (t) => [index('orders_customer_id_idx').on(t.customer_id)]);
  export const same = tableOf({});
  export const other = tableOf({ note: text() });`;

run('drizzle-kit push and prisma db pull propose no change to a tracked table', async () => {
  await writer.query(`CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL);
    CREATE INDEX ON orders (customer_id)`);
  const before = await seen(TRACKED);
  expect(before.drizzle.same).toEqual([]);
  expect(before.drizzle.other).toEqual(['ALTER TABLE "orders" ADD COLUMN "note" text;']);
  expect(before.prisma.schema).toContain('model orders {');
  await writer.query(`SELECT rowcast.track('orders', key => 'customer_id'), rowcast.track('orders', name => 'every');
    INSERT INTO orders VALUES (1, 2, 'placed')`);
  expect(await seen(TRACKED)).toEqual(before);
  await writer.query(`SELECT rowcast.untrack('orders'), rowcast.untrack('every')`);
});

run('Drizzle and Prisma propose no change to an attached table that is declared as the page says', async () => {
  const [tables = ''] = blocks('Drizzle', 'ts');
  const [models = ''] = blocks('Prisma', 'prisma');
  await writer.query(`CREATE TABLE orders (id serial PRIMARY KEY, order_id bigint NOT NULL, note text)`);
  const { drizzle, prisma } = await seen(tables, models);
  // Both notice what is missing, so that they would notice what is too much.
  expect(drizzle.orders).toContainEqual(expect.stringContaining('"seq"'));
  expect(prisma.diff).toContain('ADD COLUMN     "seq"');
  await writer.query(`SELECT rowcast.attach('orders', 'order_id')`);
  const attached = await seen(tables, models);
  expect(attached.drizzle).toEqual({ orders: [] });
  expect(attached.prisma.diff.split('\n').filter((line) => line.includes('"orders'))).toEqual([]);
  await writer.query(`SELECT rowcast.detach('orders')`);
});

const SETTINGS = `
import os
from urllib.parse import urlparse, unquote

url = urlparse(os.environ["DATABASE_URL"])
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": unquote(url.username),
    "PASSWORD": unquote(url.password or ""), "HOST": url.hostname, "PORT": url.port}}
INSTALLED_APPS = ["shop"]
SECRET_KEY = "test"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
`;

const SELL = `
from shop.models import Order
for number in (7, 7, 8):
    Order.objects.create(order_id=number, note="placed")
Order.objects.bulk_create([Order(order_id=7), Order(order_id=8)])
`;

django(
  'Django: a table that a migration attaches has no changes afterwards, and its rows are events',
  async () => {
    const [migration = '', model = ''] = blocks('Django', 'python');
    mkdirSync(join(folder, 'shop/migrations'), { recursive: true });
    const files = { 'settings.py': SETTINGS, 'shop/__init__.py': '', 'shop/models.py': model };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    writeFileSync(join(folder, 'shop/migrations/__init__.py'), '');
    const env = { DATABASE_URL: database.url, DJANGO_SETTINGS_MODULE: 'settings', PYTHONPATH: folder };
    const succeed = async (...command: string[]) => {
      const { code, output, errors } = await execute(folder, command, env);
      expect({ code, errors: code === 0 ? '' : errors }).toEqual({ code: 0, errors: '' });
      return output;
    };
    await succeed('django-admin', 'makemigrations', 'shop');
    await succeed('django-admin', 'migrate');
    writeFileSync(join(folder, 'shop/migrations/0002_attach.py'), migration);
    await succeed('django-admin', 'migrate');
    expect(await succeed('django-admin', 'makemigrations', '--check', '--dry-run')).toContain('No changes detected');
    await succeed('django-admin', 'shell', '--command', SELL);
    const { rows } = await writer.query(`SELECT order_id || ':' || seq AS n FROM orders ORDER BY order_id, seq`);
    expect(rows.map(({ n }) => n)).toEqual(['7:1', '7:2', '7:3', '8:1', '8:2']);
    // A later migration goes through, and the way back as well.
    writeFileSync(
      join(folder, 'shop/models.py'),
      model.replace('\n\n    class', '\n    place = models.TextField(default="")\n\n    class'),
    );
    expect(await succeed('django-admin', 'makemigrations', 'shop')).toContain('Add field place');
    await succeed('django-admin', 'migrate');
    await succeed('django-admin', 'shell', '--command', SELL);
    await succeed('django-admin', 'migrate', 'shop', '0001');
    const { rows: columns } = await writer.query(`SELECT attname FROM pg_attribute
    WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY 1`);
    expect(columns.map(({ attname }) => attname)).toEqual(['id', 'note', 'order_id']);
  },
  60_000,
);
