import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { AgentWorker } from '../../server/engine/worker.js';
import type { LocalGateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/ground/logger.js';
import { type ConnectedDatabase, connectDatabase } from '../../server/postgres/connect-database.js';
import { TEST_SESSION } from '../support/database.js';
import {
  brokenLaws,
  type Claimed,
  claim,
  claimed,
  complete,
  type EngineDatabase,
  engineDatabase,
  events,
  fail,
  type PlannedTask,
  started,
  statuses,
  statusOf,
  value,
} from '../support/engine.js';
import { fairNow } from '../support/fair-clock.js';
import { startTestGateway } from '../support/gateway.js';
import { program } from '../support/programs.js';
import { until } from '../support/until.js';

let database: EngineDatabase;
let client: EngineDatabase['client'];
let venture: string;
let gateway: LocalGateway;
let service: ConnectedDatabase;
const children: ChildProcess[] = [];

beforeAll(async () => {
  database = await engineDatabase();
  ({ client, venture } = database);
  await client.query(
    `INSERT INTO agent_types (agent_type, backoff_base_ms, lease_seconds) VALUES ('a', 0, 30), ('slow', 0, 2), ('long', 0, 30)`,
  );
  gateway = await startTestGateway(database.url);
  service = connectDatabase(database.url);
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'close');
  }
});
afterAll(async () => {
  expect(await brokenLaws(client)).toEqual([]);
  await gateway.stop();
  await service.close();
  await database.drop();
});

/** Runs a statement in a transaction, and cuts its connection before the COMMIT. */
async function cut(text: string, values: readonly unknown[]): Promise<void> {
  const doomed = new pg.Client({ connectionString: database.url, application_name: TEST_SESSION });
  doomed.on('error', () => {});
  await doomed.connect();
  await doomed.query('BEGIN');
  await doomed.query(text, [...values]);
  const pid = await value(doomed, 'SELECT pg_backend_pid()');
  await client.query('SELECT pg_terminate_backend($1)', [pid]);
  await until(() => value(client, 'SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)', [pid]), {
    what: 'its end',
  });
  await doomed.end().catch(() => {});
}

const ONE: PlannedTask[] = [{ name: 'one', agent_type: 'a' }];
const status = async (execution: string) => (await statuses(client, execution)).one;
const lines = async (execution: string) => (await events(client, execution)).length;

test('C1: a worker that is gone before its claim commits has claimed nothing', async () => {
  const execution = await started(client, venture, ONE);
  const before = await lines(execution);
  await cut('SELECT rowcast.claim_task($1, $2)', ['w', ['a']]);
  expect([await status(execution), await lines(execution)]).toEqual(['ready', before]);
  await complete(client, await claimed(client, 'a'));
});

test('C4: what an agent has done under the id of its task before its worker died is not done again by the next attempt', async () => {
  await client.query('CREATE TABLE letters (task_id uuid PRIMARY KEY, attempt int)');
  const send = ({ task_id, attempt }: Claimed) =>
    client.query('INSERT INTO letters VALUES ($1, $2) ON CONFLICT DO NOTHING', [task_id, attempt]);
  const execution = await started(client, venture, ONE);
  const first = await claimed(client, 'a');
  await send(first);
  await client.query('UPDATE agent_tasks SET lease_until = now() WHERE task_id = $1', [first.task_id]);
  await until(async () => (await status(execution)) === 'ready', { what: 'the ticker' });
  const second = await claimed(client, 'a');
  await send(second);
  expect([await complete(client, first), await complete(client, second)]).toEqual([false, true]);
  expect(second.attempt).toBe(2);
  expect((await client.query('SELECT * FROM letters')).rows).toEqual([{ task_id: first.task_id, attempt: 1 }]);
});

test('C5, C6: a report that was cut changes nothing; one that was committed may be repeated', async () => {
  const execution = await started(client, venture, ONE);
  const task = await claimed(client, 'a');
  await cut('SELECT rowcast.complete_task($1, $2)', [task.task_id, task.lease]);
  expect(await status(execution)).toBe('running');
  expect([await complete(client, task, 1), await complete(client, task, 1)]).toEqual([true, true]);
  expect(await statusOf(client, execution)).toBe('completed');
});

test('C7: the same for a failure', async () => {
  const execution = await started(client, venture, ONE);
  const task = await claimed(client, 'a');
  await cut('SELECT rowcast.fail_task($1, $2)', [task.task_id, task.lease]);
  expect(await status(execution)).toBe('running');
  expect([await fail(client, task, {}), await fail(client, task, {})]).toEqual([true, true]);
  expect(await statusOf(client, execution)).toBe('failed');
});

test('C8: 100 successors start with the end of their task, or none of them', async () => {
  const wide = Array.from({ length: 100 }, (_, index) => ({ name: `t${index}`, agent_type: 'a', needs: ['one'] }));
  const execution = await started(client, venture, [...ONE, ...wide]);
  const task = await claimed(client, 'a');
  const ready = async () =>
    Object.values(await statuses(client, execution)).filter((status) => status === 'ready').length;
  await cut('SELECT rowcast.complete_task($1, $2)', [task.task_id, task.lease]);
  expect(await ready()).toBe(0);
  await complete(client, task);
  expect(await ready()).toBe(100);
  await client.query('SELECT rowcast.cancel_execution($1)', [execution]);
});

test('C9, C10: a cancellation, or the work of the ticker, that was cut has changed nothing', async () => {
  const execution = await started(client, venture, ONE);
  const before = await lines(execution);
  await cut('SELECT rowcast.cancel_execution($1)', [execution]);
  expect([await status(execution), await lines(execution)]).toEqual(['ready', before]);
  const { task_id } = await claimed(client, 'a');
  await client.query('UPDATE agent_tasks SET lease_until = now() WHERE task_id = $1', [task_id]);
  await cut('SELECT rowcast.attend($1)', [execution]).catch(() => {}); // the ticker of the gateway may have been first
  await until(async () => (await status(execution)) === 'ready', { what: 'the ticker' });
  await client.query('SELECT rowcast.cancel_execution($1)', [execution]);
});

/** A worker whose agent takes as many milliseconds as `ms` of its task's input. */
async function workerProcess(name: string): Promise<ChildProcess> {
  const options = JSON.stringify({ url: database.url, name, slots: { slow: 1 } });
  const child = spawn(process.execPath, [program('test/support/engine-worker-main.ts'), options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  return child;
}

const slow = (ms: number): PlannedTask[] => [{ name: 'one', agent_type: 'slow', input: { ms } }];

const runs = (execution: string, worker: string) =>
  until(
    () =>
      value(
        client,
        `SELECT EXISTS (SELECT FROM agent_tasks WHERE execution_id = $1 AND status = 'running' AND worker_id = $2)`,
        [execution, worker],
      ),
    { what: `${worker} to run it` },
  );

test('C2, C3, E14: after kill -9 of a worker its task runs again within the lease and a second, from its checkpoint', async () => {
  const victim = await workerProcess('victim');
  const execution = await started(client, venture, slow(600_000));
  await runs(execution, 'victim');
  const save = `SELECT rowcast.heartbeat_task(task_id, lease, '{"checkpoint": {"at": 7}}') FROM agent_tasks WHERE execution_id = $1`;
  expect(await value(client, save, [execution])).toBe('continue');
  victim.kill('SIGKILL');
  const began = fairNow();
  const again = await until(() => claim(client, ['slow'], 'heir'), { what: 'the task to be ready again' });
  expect(fairNow() - began).toBeLessThan(3_000); // the lease is 2 s
  expect(again).toMatchObject({ execution_id: execution, attempt: 2, checkpoint: { at: 7 } });
  await client.query('SELECT rowcast.cancel_execution($1)', [execution]);
});

test('C13: a worker that was frozen for longer than its lease has lost it, and its report changes nothing', async () => {
  const zombie = await workerProcess('zombie');
  const execution = await started(client, venture, slow(1_500));
  await runs(execution, 'zombie');
  zombie.kill('SIGSTOP');
  const heir = await workerProcess('heir');
  await until(async () => (await statusOf(client, execution)) !== 'running', { what: 'the end' });
  const worker = 'SELECT worker_id FROM agent_tasks WHERE execution_id = $1';
  expect(await value(client, worker, [execution])).toBe('heir');
  const before = await lines(execution);
  heir.kill('SIGKILL');
  await once(heir, 'close');
  zombie.kill('SIGCONT');
  // It has one slot, which is free after its report.
  const marker = await started(client, venture, slow(1));
  await until(async () => (await statusOf(client, marker)) !== 'running', { what: 'the worker to go on' });
  expect(await value(client, worker, [marker])).toBe('zombie');
  expect(await lines(execution)).toBe(before);
});

test('E15: cancel reaches an agent in the process of a gateway within 100 ms', async () => {
  const delays: number[] = [];
  let running = false;
  let cancelled = 0;
  const run = ({ signal }: { signal: AbortSignal }) => {
    running = true;
    return new Promise((_, reject) =>
      signal.addEventListener('abort', () => {
        delays.push(fairNow() - cancelled);
        reject(signal.reason);
      }),
    );
  };
  const worker = new AgentWorker(service, { agents: { long: { run } }, gateway, logger: makeLogger('silent') });
  await worker.start();
  for (let i = 0; i < 5; i++) {
    running = false;
    const execution = await started(client, venture, [{ name: 'one', agent_type: 'long' }]);
    await until(() => running, { what: 'the agent' });
    cancelled = fairNow();
    await client.query('SELECT rowcast.cancel_execution($1)', [execution]);
    await until(() => delays.length > i, { what: 'the abort' });
  }
  await worker.stop();
  expect(delays.sort((x, y) => x - y)[2]).toBeLessThan(100);
});

test('E15: cancel reaches an agent in another process within a second', async () => {
  const child = await workerProcess('elsewhere');
  const execution = await started(client, venture, slow(600_000));
  await runs(execution, 'elsewhere');
  const aborted = once(child.stdout as NodeJS.ReadableStream, 'data');
  const cancelled = fairNow();
  await client.query('SELECT rowcast.cancel_execution($1)', [execution]);
  expect(String(await aborted)).toBe('aborted\n');
  expect(fairNow() - cancelled).toBeLessThan(1_000);
});
