import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { executionsCheck } from '../../server/executions/doctor.js';
import { migrate } from '../../server/postgres/migrate.js';
import { uninstall } from '../../server/postgres/uninstall.js';
import { ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { complaints, findingsAt, fixFor, foundBy } from '../support/doctor.js';
import { startTestGateway } from '../support/gateway.js';
import { killAll, runRowcast } from '../support/process.js';
import { startEmbedded } from '../support/server.js';
import { connectWriter } from '../support/writer.js';

/** A database without Rowcast, on the server of the tests, whose roles are there. */
let database: TestDatabase;
let url: string;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rowcast-install-'));
  await chmod(folder, 0o755);
  database = await createDatabase();
});
afterAll(async () => {
  killAll();
  await database.drop();
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  url = new URL('/fresh', clusters()[0]?.url).href;
  const admin = await connectWriter(database.url);
  await admin.query('CREATE DATABASE fresh TEMPLATE template0');
  await admin.end();
});
afterEach(async () => {
  const admin = await connectWriter(database.url);
  await admin.query('DROP DATABASE fresh WITH (FORCE)');
  await admin.end();
});

const run = async (...args: string[]) => {
  const rowcast = runRowcast(args, { DATABASE_URL: url, ROWCAST_PORT: '0' });
  return { code: await rowcast.exited, output: rowcast.output(), errors: rowcast.errors() };
};

test('the commands: an extension in a schema of its own comes and goes', async () => {
  expect(await run('migrate', '--with', 'nix')).toMatchObject({
    code: 2,
    errors: expect.stringContaining('executions'),
  });
  expect((await run('migrate', '--with', 'executions', '--schema', 'agents')).output).toMatch(
    /^ran core\/01-installation\.sql, .*core\/12-tracks\.sql, executions\/01-tables\.sql, .*executions\/04-alerts\.sql$/m,
  );
  const promised = await run('uninstall');
  expect(promised).toMatchObject({ code: 1, output: expect.stringMatching(/^this would be removed:[\s\S]*--yes/) });
  const done = await run('uninstall', '--yes');
  expect(done).toMatchObject({ code: 0, output: expect.stringMatching(/^removed:[\s\S]*the schema agents/) });
  await expect(uninstall(url)).rejects.toThrow('not installed');
}, 60_000);

test('the doctor says what is installed, and what is wrong with it', async () => {
  await migrate(url, { with: ['executions'], schema: 'agents' });
  const findings = () => findingsAt(url, {}, [executionsCheck]);
  const all = await findings();
  expect(complaints(all)).toEqual([]);
  expect(foundBy(all, 'migrations')).toEqual([
    expect.stringMatching(/^core, executions in the schema agents: (\d+) of \1 ran/),
  ]);
  expect(foundBy(all, 'executions')).toEqual(['installed in the schema agents']);
  const writer = await connectWriter(url);
  await writer.query('ALTER TABLE agents.agent_executions DISABLE TRIGGER touch, DISABLE ROW LEVEL SECURITY');
  await writer.query('ALTER TABLE agents.execution_metrics RENAME TO metrics');
  const broken = await findings();
  expect(complaints(broken)).toEqual([
    'migrations fault: executions: dropped, and missing: table agents.execution_metrics',
    'executions fault: the trigger touch of agents.agent_executions does not fire',
    expect.stringMatching(/^executions fault: agents\.agent_executions has no row-level security/),
    'executions fault: the table execution_metrics does not exist',
  ]);
  await writer.query(fixFor(broken, /does not fire/) + fixFor(broken, /has no row-level/));
  await writer.query('ALTER TABLE agents.metrics RENAME TO execution_metrics');
  expect(complaints(await findings())).toEqual([]);
  await writer.end();
});

test('what is installed decides what a gateway serves, wherever its tables are', async () => {
  await migrate(url);
  const token = await tokenFor('ann');
  const core = await startTestGateway(url, { ROWCAST_JWT_SECRET: JWT_SECRET });
  expect((await ask(core, '/api/agents/executions?ids=00000000-0000-4000-8000-00000000000e', token)).status).toBe(404);
  expect((await ask(core, '/v1/poll?channel=message:lobby&wait=0', token)).status).toBe(403);
  await expect(uninstall(url, { confirmed: true })).rejects.toThrow(/^a gateway is connected .* stop every gateway/);
  expect(await uninstall(url)).toContain('the schema rowcast, with the events of the stream message');
  await core.stop();

  await migrate(url, { with: ['executions'], schema: 'The agents' });
  const writer = await connectWriter(url);
  await writer.query('SET search_path = "The agents"');
  const venture = await createVenture(writer, 'ann');
  const execution = await createExecution(writer, venture);
  await writer.end();
  const gateway = await startTestGateway(url, { ROWCAST_JWT_SECRET: JWT_SECRET });
  const post = { method: 'POST', headers: { 'Content-Type': 'application/json' } };
  const paths = ['', '/status', '/steps', '/metrics'].map((part) => `/api/agents/executions/${execution}${part}`);
  const lists = [
    `/api/agents/executions?venture_id=${venture}`,
    `/api/agents/execution-logs/${venture}?q=running&offset=0`,
  ];
  for (const path of [...paths, ...lists])
    expect([path, (await ask(gateway, path, token)).status]).toEqual([path, 200]);
  const body = (venture_id: string) => ({ ...post, body: JSON.stringify({ venture_id, initial_status: 'running' }) });
  expect((await ask(gateway, '/api/agents/executions', token, body(venture))).status).toBe(201);
  const eve = await tokenFor('eve');
  expect((await ask(gateway, '/api/agents/executions', eve, body(venture))).status).toBe(403);
  expect((await ask(gateway, lists[0] ?? '', eve)).status).toBe(403);
  const service = await tokenFor('service', { role: 'service_role' });
  const nowhere = '00000000-0000-4000-8000-00000000000f';
  expect((await ask(gateway, `/api/agents/executions?venture_id=${nowhere}`, service)).status).toBe(404);
  expect((await ask(gateway, `/api/agents/executions?venture_id=${nowhere}`, eve)).status).toBe(404);
  await gateway.stop();
});

test('ventures of the application: their members, and no others, read and write their executions', async () => {
  const venture = '00000000-0000-4000-8000-00000000000a';
  const writer = await connectWriter(url);
  await writer.query(
    `CREATE TABLE ventures (id uuid PRIMARY KEY, title text NOT NULL); INSERT INTO ventures VALUES ('${venture}', 'a')`,
  );
  await migrate(url, { with: ['executions'] });
  await writer.query(`INSERT INTO venture_members VALUES ('${venture}', 'ann', 'editor')`);
  await writer.end();
  const gateway = await startTestGateway(url, { ROWCAST_JWT_SECRET: JWT_SECRET });
  const [ann, eve, service] = await Promise.all([
    tokenFor('ann'),
    tokenFor('eve'),
    tokenFor('service', { role: 'service_role' }),
  ]);
  const create = (token: string, venture_id: string) =>
    ask(gateway, '/api/agents/executions', token, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ venture_id }),
    });
  const nowhere = venture.replace(/a$/, 'f');
  expect((await ask(gateway, `/api/agents/executions?venture_id=${venture}`, ann)).status).toBe(200);
  expect((await ask(gateway, `/v1/poll?channel=venture:${venture}&since=start&wait=0`, ann)).status).toBe(200);
  expect((await create(ann, venture)).status).toBe(201);
  expect((await create(eve, venture)).status).toBe(403);
  expect((await create(eve, nowhere)).status).toBe(404);
  expect((await create(service, venture)).status).toBe(201);
  expect((await create(service, nowhere)).status).toBe(404);
  expect((await ask(gateway, `/v1/poll?channel=venture:${venture}&wait=0`, eve)).status).toBe(403);
  await gateway.stop();
});

test('up on a database of its own user installs no extension, and says why there is no demo', async () => {
  const up = runRowcast(['up'], { DATABASE_URL: url, ROWCAST_PORT: '0' });
  await new Promise((resolve) => up.child.stdout?.once('data', resolve));
  up.child.kill('SIGTERM');
  expect(await up.exited).toBe(0);
  expect(up.errors()).toContain('no demo: in this database the engine is not installed');
  const client = await connectWriter(url);
  expect((await client.query('SELECT FROM rowcast.extensions')).rowCount).toBe(0);
  await client.end();
});

test('data of a version that was never released meets one line that says what to do', async () => {
  const old = `CREATE SCHEMA rowcast; CREATE TABLE rowcast.migrations (name text PRIMARY KEY, checksum text NOT NULL);
    INSERT INTO rowcast.migrations VALUES ('0001_streams.sql', 'x')`;
  const dataDir = join(folder, 'data');
  const server = await startEmbedded({ dataDir, settings: { fsync: 'off' } });
  for (const one of [server.url, url]) {
    const client = await connectWriter(one);
    await client.query(old);
    await client.end();
  }
  await server.stop();
  const up = runRowcast(['up'], { ROWCAST_DATA_DIR: dataDir, ROWCAST_PORT: '0', ROWCAST_LOG_LEVEL: 'warn' });
  expect(await up.exited).toBe(1);
  expect(up.errors()).toMatch(
    /^rowcast: the embedded database in \S+ was made by .*: delete that folder, or name another one in ROWCAST_DATA_DIR\n$/,
  );
  expect(await run('migrate')).toMatchObject({
    code: 1,
    errors: expect.stringMatching(/^rowcast: this database was set up by .*use another database.*\n$/),
  });
}, 60_000);
