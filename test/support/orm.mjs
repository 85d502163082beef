/**
 * What ORMs make of a database, as JSON: what `prisma db pull` writes, what `prisma migrate diff` would execute for a datamodel, and
 * what `drizzle-kit push` would execute for a module with tables: node orm.mjs <home> <url> <tables.mjs> <datamodel.prisma>
 *
 * Prisma's command line downloads its schema engine. This is the engine as npm has it, over Prisma's driver for PostgreSQL, which
 * does not know the type "char" of the system catalogs.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [, , home, url, tables, datamodel] = process.argv;
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
  const source = 'datasource db {\n  provider = "postgresql"\n}\n';
  const files = (content) => [{ path: 'schema.prisma', content }];
  const factory = bindMigrationAwareSqlAdapterFactory(new Driver(new Pool({ connectionString: url })));
  const engine = await glue.SchemaEngine.new({ datamodels: [['schema.prisma', source]] }, () => {}, factory);
  const pulled = await engine.introspect({
    schema: { files: files(source) },
    baseDirectoryPath: '.',
    force: false,
    compositeTypeDepth: -1,
    namespaces: null,
  });
  const difference = await engine.diff({
    from: { tag: 'schemaDatasource', files: files(source), configDir: '.' },
    to: { tag: 'schemaDatamodel', files: files(source + readFileSync(datamodel, 'utf8')) },
    script: true,
    exitCode: null,
    shadowDatabaseUrl: null,
    filters: { externalTables: [], externalEnums: [] },
  });
  const schema = pulled.schema.files.map((file) => file.content).join('\n');
  return { schema, warnings: pulled.warnings, diff: difference.stdout };
}

async function drizzle() {
  const { pushSchema } = require('drizzle-kit/api');
  const { drizzle: over } = require('drizzle-orm/node-postgres');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const found = {};
  for (const [name, table] of Object.entries(await import(pathToFileURL(tables).href))) {
    const { statementsToExecute } = await pushSchema({ table }, over(client), ['public'], ['orders']);
    found[name] = statementsToExecute;
  }
  return found;
}

// Both write to the terminal.
const print = process.stdout.write.bind(process.stdout);
process.stdout.write = () => true;
print(JSON.stringify({ prisma: await prisma(), drizzle: await drizzle() }), () => process.exit());
