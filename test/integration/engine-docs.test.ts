/** @needs python3 psql */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { LocalGateway } from '../../server/gateway.js';
import { packageRoot } from '../../server/ground/package-root.js';
import {
  brokenLaws,
  type EngineDatabase,
  engineDatabase,
  events,
  started,
  statuses,
  statusOf,
  value,
} from '../support/engine.js';
import { startTestGateway } from '../support/gateway.js';
import { lacks } from '../support/installed.mjs';
import { killAll, runProgram, runScript } from '../support/process.js';
import { startRedis } from '../support/redis.js';
import { until } from '../support/until.js';

const page = readFileSync(join(packageRoot(), 'docs/guides/engine.md'), 'utf8');
const blocks = (language: string) =>
  [...page.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].filter(([, of]) => of === language).map(([, , text = '']) => text);
const [worker = '', start = '', specialists = ''] = blocks('js');
const [python = ''] = blocks('python');
const shell = blocks('sh').find((text) => text.includes('claim_task')) ?? '';
const compare = blocks('sql').at(-1) ?? '';

let database: EngineDatabase;
let client: EngineDatabase['client'];
let gateway: LocalGateway;
let folder: string;

beforeAll(async () => {
  database = await engineDatabase();
  client = database.client;
  await client.query(`INSERT INTO agent_types (agent_type, backoff_base_ms) VALUES ('content', 10)`);
  gateway = await startTestGateway(database.url);
  folder = await mkdtemp(join(tmpdir(), 'rowcast-guide-'));
});
afterAll(async () => {
  killAll();
  expect(await brokenLaws(client)).toEqual([]);
  await gateway.stop();
  await rm(folder, { recursive: true });
  // Workers that were killed leave their sessions for a moment.
  await until(
    () =>
      value(
        client,
        `SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'rowcast service'`,
      ),
    { what: 'the workers to be gone' },
  );
  await database.drop();
});

const env = () => ({ DATABASE_URL: database.url });
const ends = (execution: string, status = 'completed') =>
  until(async () => (await statusOf(client, execution)) === status, { what: `the execution to be ${status}` });

async function run(script: string): Promise<string> {
  const { exited, output, errors } = await runScript(script, [database.venture], env());
  expect([await exited, errors()]).toEqual([0, '']);
  return output().trim();
}

test('the first execution of the guide', async () => {
  const working = await runScript(worker, [], env());
  await until(() => working.output().includes('working'), { what: 'the worker' });
  const id = await run(start);
  await ends(id);
  expect(await events(client, id)).toContain('task-retrying write');
  expect(await value(client, `SELECT output FROM agent_tasks WHERE execution_id = $1 AND name = 'send'`, [id])).toEqual(
    { sent: 52 },
  );
  working.child.kill('SIGTERM');
  expect([await working.exited, working.errors()]).toEqual([0, '']);
});

test('the worker in Python, of 30 lines', async () => {
  expect(python.trim().split('\n').length).toBeLessThanOrEqual(32);
  const file = join(folder, 'worker.py');
  await writeFile(file, python);
  const id = await started(client, database.venture, [
    { name: 'one', agent_type: 'count', input: { text: 'three short words' } },
  ]);
  const failing = await started(client, database.venture, [{ name: 'none', agent_type: 'count' }]);
  const running = runProgram('python3', [file, gateway.url], {});
  await ends(id);
  expect(await value(client, 'SELECT output FROM agent_tasks WHERE execution_id = $1', [id])).toEqual({ words: 3 });
  await ends(failing, 'failed');
  running.child.kill('SIGKILL');
  await running.exited;
});

test('the worker in sh and SQL', async () => {
  const login = `sh_worker_${process.pid}`;
  await client.query(`CREATE ROLE ${login} LOGIN IN ROLE agent_worker`);
  const file = join(folder, 'worker.sh');
  await writeFile(file, shell);
  const id = await started(client, database.venture, [
    { name: 'one', agent_type: 'upper', input: { text: `it's loud` } },
  ]);
  const url = Object.assign(new URL(database.url), { username: login }).href;
  const running = runProgram('sh', [file], { DATABASE_URL: url });
  await ends(id);
  expect(await value(client, 'SELECT output FROM agent_tasks WHERE execution_id = $1', [id])).toEqual({
    text: `IT'S LOUD`,
  });
  running.child.kill('SIGKILL');
  await running.exited;
  const gone = () => value(client, 'SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = $1', [login]);
  await until(gone, { what: 'its sessions to end' });
  await client.query(`DROP ROLE ${login}`);
});

test('specialists in parallel: at least three times as fast, and partial results when one fails', async () => {
  const script = (types: string[]) => `
    import { AgentWorker, connectDatabase } from 'rowcast/server';
    const agents = Object.fromEntries(${JSON.stringify(types)}.map((type) => [type, { run: async ({ results }) => {
      if (type === 'join') return Object.keys(results).sort();
      await new Promise((resolve) => setTimeout(resolve, 2000));
      if (type === 'law') throw new Error('no lawyer');
      return type;
    } }]));
    await new AgentWorker(connectDatabase(process.env.DATABASE_URL), { agents }).start();
    console.log('working');`;
  const workers = [
    await runScript(script(['market', 'law']), [], env()),
    await runScript(script(['design', 'price', 'join']), [], env()),
  ];
  for (const { output } of workers) await until(() => output().includes('working'), { what: 'a worker' });
  const id = await run(specialists);
  await ends(id);
  expect(await statuses(client, id)).toMatchObject({ law: 'failed', join: 'completed' });
  expect(await value(client, `SELECT output FROM agent_tasks WHERE execution_id = $1 AND name = 'join'`, [id])).toEqual(
    ['design', 'market', 'price'],
  );
  const { rows } = await client.query(compare, [id]);
  const { one_after_the_other_ms: sum, in_parallel_ms: together } = rows[0];
  // Four at once, less what each begins later; more of that on a busy machine.
  expect(sum / together).toBeGreaterThan(2.5);
  for (const { child, exited } of workers) {
    child.kill('SIGKILL');
    await exited;
  }
});

(lacks('a carrier of a gateway', 'redis') ? test.skip : test)(
  'the worker with a carrier of the reference gets its tasks by way of a gateway',
  async () => {
    const reference = readFileSync(join(packageRoot(), 'docs/reference/engine.md'), 'utf8');
    const [, script = ''] = /```ts\n([^`]*openCarrier[^`]*)```/.exec(reference) ?? [];
    const redis = await startRedis();
    const sending = await startTestGateway(database.url, { ROWCAST_CARRIER_URL: redis.url });
    const { child, exited } = await runScript(script.replace('redis://127.0.0.1:6379', redis.url), [], env());
    const execution = await started(client, database.venture, [{ name: 'mail', agent_type: 'email' }]);
    await until(async () => (await statusOf(client, execution)) === 'completed', { what: 'the mail to be sent' });
    const carrier = await value(
      client,
      'SELECT carrier FROM agent_workers JOIN agent_tasks USING (worker_id) WHERE execution_id = $1',
      [execution],
    );
    expect(carrier).toBe('bullmq');
    child.kill('SIGTERM');
    await until(() => value(client, 'SELECT true'), { what: 'the database' });
    child.kill('SIGKILL');
    await exited;
    await sending.stop();
    await redis.stop();
  },
);
