/**
 * What ORMs make of the table `orders` of a database, as JSON: what `prisma db pull` writes, and what `drizzle-kit push` would
 * execute for a schema with the same columns (`same`) and for one with another (`other`): node orm.mjs <home> <url>
 *
 * Prisma's command line downloads its schema engine. This is the engine as npm has it, over Prisma's driver for PostgreSQL, which
 * does not know the type "char" of the system catalogs.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [, , home, url] = process.argv;
const require = createRequire(join(home, 'package.json'));
const pg = require('pg');

/** OIDs of "char" and text. */
const CHAR = 18;
const TEXT = 25;

async function prisma() {
  const { PrismaPg } = require('@prisma/adapter-pg');
  const { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } = require('@prisma/driver-adapter-utils');
  let chars = [];
  class Pool extends pg.Pool {
    async query(...args) {
      const result = await super.query(...args);
      for (const [index, field] of (result.fields ?? []).entries()) {
        if (field.dataTypeID !== CHAR) continue;
        field.dataTypeID = TEXT;
        chars.push(index);
      }
      return result;
    }
  }
  class Driver extends PrismaPg {
    async connect() {
      const adapter = await super.connect();
      const queryRaw = adapter.queryRaw.bind(adapter);
      adapter.queryRaw = async (query) => {
        chars = [];
        const result = await queryRaw(query);
        for (const index of chars) result.columnTypes[index] = ColumnTypeEnum.Character;
        return result;
      };
      return adapter;
    }
  }
  const folder = join(home, 'node_modules/@prisma/schema-engine-wasm');
  const glue = await import(pathToFileURL(join(folder, 'schema_engine_bg.js')).href);
  const module = new WebAssembly.Module(readFileSync(join(folder, 'schema_engine_bg.wasm')));
  const { exports } = new WebAssembly.Instance(module, { './schema_engine_bg.js': glue });
  glue.__wbg_set_wasm(exports);
  exports.__wbindgen_start();
  const content = 'datasource db {\n  provider = "postgresql"\n}\n';
  const factory = bindMigrationAwareSqlAdapterFactory(new Driver(new Pool({ connectionString: url })));
  const engine = await glue.SchemaEngine.new({ datamodels: [['schema.prisma', content]] }, () => {}, factory);
  const files = [{ path: 'schema.prisma', content }];
  const pulled = await engine.introspect({
    schema: { files },
    baseDirectoryPath: '.',
    force: false,
    compositeTypeDepth: -1,
    namespaces: null,
  });
  return { schema: pulled.schema.files.map((file) => file.content).join('\n'), warnings: pulled.warnings };
}

async function drizzle() {
  const { pushSchema } = require('drizzle-kit/api');
  const { drizzle: over } = require('drizzle-orm/node-postgres');
  const { index, integer, pgTable, text } = require('drizzle-orm/pg-core');
  const columns = { id: integer().primaryKey(), customer_id: integer().notNull(), status: text().notNull() };
  const tableOf = (more) =>
    pgTable('orders', { ...columns, ...more }, (t) => [index('orders_customer_id_idx').on(t.customer_id)]);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const push = async (orders) =>
    (await pushSchema({ orders }, over(client), ['public'], ['orders'])).statementsToExecute;
  return { same: await push(tableOf({})), other: await push(tableOf({ note: text() })) };
}

// Both write to the terminal.
const print = process.stdout.write.bind(process.stdout);
process.stdout.write = () => true;
print(JSON.stringify({ prisma: await prisma(), drizzle: await drizzle() }), () => process.exit());
