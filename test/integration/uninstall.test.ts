import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { Executions } from '../../server/executions/rules/executions.js';
import { connectDatabase } from '../../server/postgres/connect-database.js';
import { installedExtensions } from '../../server/postgres/extensions.js';
import { type MigrateOptions, migrate } from '../../server/postgres/migrate.js';
import { type UninstallOptions, uninstall } from '../../server/postgres/uninstall.js';
import { catalogueOf } from '../support/catalogue.js';
import { type EmbeddedPostgres, startEmbedded } from '../support/server.js';
import { connectWriter } from '../support/writer.js';

/** An application with names that Rowcast uses as well, tables with data, and rights of its own. */
const APPLICATION = `
  CREATE TYPE log_level AS ENUM ('debug', 'loud');
  CREATE TABLE ventures (id uuid PRIMARY KEY, title text, level log_level NOT NULL DEFAULT 'loud');
  INSERT INTO ventures VALUES ('00000000-0000-4000-8000-00000000000a', 'first'), ('00000000-0000-4000-8000-00000000000b', 'second');
  CREATE TABLE customers (customer text PRIMARY KEY);
  INSERT INTO customers VALUES ('ann'), ('bob');
  CREATE TABLE orders (id bigserial PRIMARY KEY, customer text NOT NULL REFERENCES customers, placed timestamptz NOT NULL DEFAULT now());
  INSERT INTO orders (customer) VALUES ('ann'), ('bob'), ('ann'), ('bob'), ('ann');
  CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'orders are not changed'; END $$;
  CREATE TRIGGER forbid BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION forbid();
  CREATE TABLE staff (name text NOT NULL, customer text NOT NULL);
  ALTER TABLE staff ENABLE ROW LEVEL SECURITY;
  CREATE SCHEMA log;
  CREATE TABLE log.visits (page text NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (at);
  CREATE TABLE log.visits_now PARTITION OF log.visits DEFAULT;
  INSERT INTO log.visits VALUES ('/', now()), ('/shop', now()), ('/', now())`;

/** What a user of Rowcast does with it. */
const USE = `
  SELECT rowcast.attach('orders', 'customer'), rowcast.attach('log.visits', 'page', 'visits', seq => 'number', tx => 'in_tx');
  SELECT rowcast.watch_access('staff', 'name'), rowcast.retain('orders', keep_rows => 3), rowcast.publish('message:lobby', 'x');
  INSERT INTO orders (id, customer) VALUES (0, 'ann');
  DELETE FROM orders WHERE id = 0`;

const VENTURE = '00000000-0000-4000-8000-00000000000a';

const servers = [
  { version: '18', binDir: undefined },
  ...[15, 16, 17, 18]
    .map((major) => ({ version: `${major}, installed`, binDir: `/usr/lib/postgresql/${major}/bin` }))
    .filter(({ binDir }) => existsSync(join(binDir, 'pg_dump'))),
];

/** On servers of their own: roles belong to the whole cluster. */
describe.each(servers)('PostgreSQL $version', ({ binDir }) => {
  let folder: string;
  let server: EmbeddedPostgres;
  let superuser: pg.Client;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rowcast-uninstall-'));
    await chmod(folder, 0o755);
    const dataDir = join(folder, 'data');
    server = await startEmbedded({ dataDir, settings: { fsync: 'off' }, ...(binDir !== undefined && { binDir }) });
    superuser = await connectWriter(server.url);
  });
  afterAll(async () => {
    await superuser.end();
    await server.stop();
    await rm(folder, { recursive: true });
  });

  const urlOf = (name: string, role = 'postgres') =>
    Object.assign(new URL(`/${name}`, server.url), { username: role }).href;

  async function inDatabase(work: (url: string, client: pg.Client) => Promise<void>, sql = APPLICATION): Promise<void> {
    await superuser.query('CREATE DATABASE shop');
    const client = await connectWriter(urlOf('shop'));
    try {
      await client.query(sql);
      await work(urlOf('shop'), client);
    } finally {
      await client.end();
      await superuser.query('DROP DATABASE shop');
      await superuser.query('DROP ROLE IF EXISTS rowcast_gateway, anon, authenticated, service_role, agent_worker');
    }
  }

  /** Also with the data, in the order of the rows; where there is a pg_dump of this version. */
  const dump = async (url: string) =>
    binDir === undefined
      ? ''
      : (await promisify(execFile)(join(binDir, 'pg_dump'), [url])).stdout.replace(/^\\(un)?restrict .*$/gm, '');

  /** Does something to the database, takes Rowcast out of it, and expects it to be what it was. */
  async function leavesNothing(
    options: MigrateOptions,
    work: (url: string, client: pg.Client) => Promise<void>,
    how: UninstallOptions = {},
  ): Promise<void> {
    await inDatabase(async (url, client) => {
      const before = [await catalogueOf(client), await dump(url)];
      await migrate(url, options);
      await work(url, client);
      const installed = await catalogueOf(client);
      const promised = await uninstall(url, how);
      expect(await catalogueOf(client)).toEqual(installed);
      expect(await uninstall(url, { ...how, confirmed: true })).toEqual(promised);
      expect([await catalogueOf(client), await dump(url)]).toEqual(before);
    });
  }

  test('the core makes nothing outside the schema rowcast, and uninstall leaves nothing', async () => {
    await leavesNothing({}, async (url, client) => {
      const outside = `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname NOT IN ('rowcast', 'pg_catalog', 'pg_toast', 'information_schema')`;
      const made = (await client.query(outside)).rows;
      await client.query(USE);
      expect((await client.query<{ name: string }>('SELECT name FROM rowcast.streams ORDER BY name')).rows).toEqual(
        ['message', 'orders', 'visits'].map((name) => ({ name })),
      );
      expect(made.some((row) => /execution/.test(JSON.stringify(row)))).toBe(false);
      expect(await installedExtensions(url)).toEqual([]);
    });
  });

  test('executions in a schema of their own', async () => {
    const how = { dropData: true };
    await leavesNothing(
      { with: ['executions'], schema: 'agents' },
      async (url, client) => {
        await client.query(USE);
        await client.query(`INSERT INTO agents.ventures (venture_id, name) VALUES ('${VENTURE}', 'ours')`);
        await runExecution(url);
        expect(await installedExtensions(url)).toEqual([{ name: 'executions', schema: 'agents', adopted: [] }]);
        await expect(uninstall(url, { confirmed: true })).rejects.toThrow(
          /have rows: agents\.agent_execution_logs.*--drop-data/s,
        );
        await expect(migrate(url, { with: ['executions'], schema: 'public' })).rejects.toThrow(
          /already, in the schema agents/,
        );
      },
      how,
    );
  });

  test('the engine brings the executions, and goes before them', async () => {
    await leavesNothing(
      { with: ['engine'], schema: 'agents' },
      async (url, client) => {
        const names = (await installedExtensions(url)).map(({ name, schema }) => `${name} in ${schema}`);
        expect(names).toEqual(['executions in agents', 'engine in agents']);
        await client.query(`INSERT INTO agents.ventures (venture_id, name) VALUES ('${VENTURE}', 'ours')`);
        await client.query(
          `SELECT rowcast.plan_execution('${VENTURE}', '{"tasks": [{"name": "a", "agent_type": "a"}]}')`,
        );
        await expect(uninstall(url, { with: ['executions'] })).rejects.toThrow(/engine requires executions/);
        await expect(uninstall(url, { confirmed: true })).rejects.toThrow(/agents\.strategy_executions.*--drop-data/s);
      },
      { dropData: true },
    );
  });

  test('executions beside ventures of the application, which are used as they are', async () => {
    await leavesNothing(
      { with: ['executions'] },
      async (url, client) => {
        const { rows } = await client.query(
          `SELECT relrowsecurity, relacl FROM pg_class WHERE oid = 'ventures'::regclass`,
        );
        expect(rows[0]).toMatchObject({ relrowsecurity: false });
        await runExecution(url);
        expect(await installedExtensions(url)).toEqual([
          { name: 'executions', schema: 'public', adopted: ['ventures'] },
        ]);
        await client.query(`INSERT INTO venture_members VALUES ('${VENTURE}', 'ann')`);
        const sees = async (user: string, venture: string) => {
          await client.query('BEGIN; SET LOCAL ROLE authenticated');
          await client.query(`SELECT set_config('request.jwt.claims', $1, true)`, [JSON.stringify({ sub: user })]);
          const sql = `SELECT rowcast.can_read('venture:' || $1::text) AS sees, (SELECT count(*)::int FROM agent_executions) AS executions`;
          const { rows } = await client.query(sql, [venture]);
          await client.query('ROLLBACK');
          return rows[0];
        };
        expect(await sees('ann', VENTURE)).toEqual({ sees: true, executions: 1 });
        expect(await sees('ann', VENTURE.replace(/a$/, 'b'))).toEqual({ sees: false, executions: 1 });
        expect(await sees('bob', VENTURE)).toEqual({ sees: false, executions: 0 });
      },
      { dropData: true },
    );
  });

  test('detach takes away all that attach gave, except what another stream needs', async () => {
    await inDatabase(async (url, client) => {
      await client.query(`
        CREATE SCHEMA crm;
        CREATE TABLE crm.accounts (account text PRIMARY KEY);
        CREATE TABLE crm.calls (account text NOT NULL REFERENCES crm.accounts);
        CREATE TABLE crm.mails (account text NOT NULL REFERENCES crm.accounts)`);
      await migrate(url);
      const states = [await catalogueOf(client)];
      await client.query(`SELECT rowcast.attach('crm.calls', 'account')`);
      states.push(await catalogueOf(client));
      await client.query(`SELECT rowcast.attach('crm.mails', 'account')`);
      await client.query(`SELECT rowcast.detach('mails')`);
      expect(await catalogueOf(client)).toEqual(states[1]);
      await client.query(`SELECT rowcast.detach('calls')`);
      expect(await catalogueOf(client)).toEqual(states[0]);
    });
  });

  test('an extension that is removed alone leaves the core as it was', async () => {
    await inDatabase(async (url, client) => {
      await migrate(url);
      await client.query(USE);
      const before = await catalogueOf(client);
      await migrate(url, { with: ['executions'], schema: 'agents' });
      await uninstall(url, { with: ['executions'], confirmed: true });
      expect(await catalogueOf(client)).toEqual(before);
      expect(await migrate(url)).toEqual([]);
    });
  });

  test('what is in the way of executions is named, all of it, and nothing is changed', async () => {
    await inDatabase(async (url, client) => {
      await client.query(`
        DROP TABLE ventures;
        CREATE TABLE ventures (id int PRIMARY KEY);
        CREATE VIEW agent_executions AS SELECT 1 AS one;
        CREATE TYPE execution_audit AS (one int)`);
      const before = await catalogueOf(client);
      const refused = migrate(url, { with: ['executions'] });
      await expect(refused).rejects.toThrow(
        /public\.agent_executions, public\.execution_audit, public\.ventures \(it is not/,
      );
      await expect(refused).rejects.toThrow(/--schema agents/);
      expect(await catalogueOf(client)).toEqual(before);
      await migrate(url, { with: ['executions'], schema: 'agents' });
    });
  });

  test('each table of executions is looked for before it is made', async () => {
    await inDatabase(async (url, client) => {
      await migrate(url, { with: ['executions'], schema: 'agents' });
      const { rows } = await client.query<{ name: string }>(
        `SELECT relname AS name FROM pg_class WHERE relnamespace = 'agents'::regnamespace AND relkind = 'r' ORDER BY 1`,
      );
      await uninstall(url, { with: ['executions'], confirmed: true });
      await client.query('DROP TABLE ventures');
      for (const { name } of rows) await client.query(`CREATE VIEW ${name} AS SELECT 1 AS one`);
      const refusal = await migrate(url, { with: ['executions'] }).catch((error: Error) => error.message);
      expect(rows.filter(({ name }) => !String(refusal).includes(`public.${name}`))).toEqual([]);
      expect(rows.length).toBeGreaterThan(5);
    });
  });

  test('what the application has built on the schema is named and stays', async () => {
    await inDatabase(async (url, client) => {
      await migrate(url);
      await client.query(`
        CREATE POLICY own ON staff FOR SELECT TO authenticated USING (name = rowcast.subject());
        CREATE VIEW heads AS SELECT name FROM rowcast.streams;
        CREATE TABLE rowcast.mine (one int)`);
      const before = await catalogueOf(client);
      await expect(uninstall(url, { confirmed: true })).rejects.toThrow(
        /policy own on table public\.staff, rowcast\.mine, rule _RETURN on view public\.heads/,
      );
      expect(await catalogueOf(client)).toEqual(before);
      await client.query('DROP POLICY own ON staff; DROP VIEW heads; DROP TABLE rowcast.mine');
      await uninstall(url, { confirmed: true });
    });
  });

  test('roles that are missing are named at once, as a block that can be run; those that were there stay', async () => {
    await superuser.query('CREATE ROLE owner LOGIN');
    await superuser.query('CREATE DATABASE owned OWNER owner');
    const refused = await migrate(urlOf('owned', 'owner')).catch((error: Error) => error.message);
    const block = String(refused).match(/^(?:CREATE ROLE|GRANT) .*;$/gm) ?? [];
    expect(block).toHaveLength(7);
    await superuser.query(block.join('\n'));
    const client = await connectWriter(urlOf('owned'));
    const before = await catalogueOf(client);
    await migrate(urlOf('owned', 'owner'), { with: ['executions'], schema: 'agents' });
    await uninstall(urlOf('owned', 'owner'), { confirmed: true });
    expect(await catalogueOf(client)).toEqual(before);
    await client.end();
    await superuser.query('DROP DATABASE owned');
    await superuser.query('DROP ROLE owner, rowcast_gateway, anon, authenticated, service_role');
  });

  test('a role that another database uses stays, and goes with the last one', async () => {
    await superuser.query('CREATE DATABASE first');
    await superuser.query('CREATE DATABASE last');
    await migrate(urlOf('first'));
    await migrate(urlOf('last'));
    expect(await uninstall(urlOf('first'), { confirmed: true })).toContainEqual(
      '(the role anon stays: another database of this server uses it)',
    );
    await migrate(urlOf('last'), { with: ['executions'] });
    expect(await uninstall(urlOf('last'), { confirmed: true })).toContain('the role anon');
    await superuser.query('DROP DATABASE first');
    await superuser.query('DROP DATABASE last');
  });

  test.each(['', '"$user", public', 'rowcast, pg_temp'])('names do not depend on the search_path %p', async (path) => {
    await superuser.query('CREATE ROLE rowcast LOGIN SUPERUSER');
    await inDatabase(async (_, client) => {
      await client.query(`ALTER DATABASE shop SET search_path = ${path === '' ? `''` : path}`);
      await migrate(urlOf('shop', 'rowcast'), { with: ['executions'] });
      await runExecution(urlOf('shop', 'rowcast'));
      await uninstall(urlOf('shop', 'rowcast'), { confirmed: true, dropData: true });
    });
    await superuser.query('DROP ROLE rowcast');
  });
});

/** With the library, which asks the database where executions are. */
async function runExecution(url: string): Promise<void> {
  const database = connectDatabase(url);
  const executions = new Executions(database);
  const { value } = await executions.create({ venture_id: VENTURE, initial_status: 'running' });
  await executions.append(value.execution_id, [{ message: 'hello' }]);
  await executions.record(value.execution_id, [{ metric_name: 'tokens', metric_value: 1 }]);
  expect((await executions.finish(value.execution_id, 'completed')).position).toMatch(/\.4$/);
  await expect(executions.create({ venture_id: VENTURE.replace(/a$/, 'f') })).rejects.toMatchObject({
    code: 'unknown_venture',
  });
  await database.close();
}
