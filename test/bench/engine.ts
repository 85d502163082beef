/**
 * The engine: tasks a second with two worker processes, from the end of a task to the assignment of the next one, and the
 * price of a claim with 30,000 ready tasks of 50 ventures; beside it jobs a second of graphile-worker and pg-boss. PostgreSQL
 * with fsync, a gateway, and the workers share this machine.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { AgentWorker } from '../../server/engine/worker.js';
import { connectDatabase } from '../../server/postgres/connect-database.js';
import { startEmbedded } from '../../server/postgres/embedded.js';
import { migrate } from '../../server/postgres/migrate.js';
import { type Claimed, claim, type PlannedTask, planned, value } from '../support/engine.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { program } from '../support/programs.js';
import { queueHome } from '../support/queue-packages.mjs';
import { until } from '../support/until.js';
import { newVenture } from '../support/writer.js';
import { LIBRARIES, queueRate } from './queues.js';

/** Executions, their tasks, and how many of them wait for nothing. */
const EXECUTIONS = 40;
const TASKS = 25;
const WIDTH = 5;
const CHAIN = 60;
const READY = 30_000;
const VENTURES = 50;
const PASSES = 3;
const TYPES = ['a', 'b', 'c', 'd'];

const percentile = (of: readonly number[], p: number) => {
  const sorted = [...of].sort((x, y) => x - y);
  return sorted[Math.floor((sorted.length - 1) * p)] ?? Number.NaN;
};
const ms = (of: readonly number[]) =>
  `p50 ${percentile(of, 0.5).toFixed(1)} ms, p95 ${percentile(of, 0.95).toFixed(1)} ms`;

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-bench-'));
const cluster = await startEmbedded({ dataDir, settings: { shared_buffers: '128MB' } });
await migrate(cluster.url, { with: ['engine'] });
const client = new pg.Client({ connectionString: cluster.url });
await client.connect();
const venture = await newVenture(client);
const gateway = await startTestGateway(cluster.url, NO_RATES);

async function workerProcess(name: string, slots: Record<string, number>): Promise<ChildProcess> {
  const options = JSON.stringify({ url: cluster.url, name, slots });
  const child = spawn(process.execPath, [program('test/support/engine-worker-main.ts'), options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  return child;
}

async function ended(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM');
  await once(child, 'close');
}

const allDone = () =>
  until(() => value<boolean>(client, `SELECT NOT EXISTS (SELECT FROM strategy_executions WHERE ended_at IS NULL)`), {
    what: 'the end',
    deadlineMs: 120_000,
  });

/** From each task-completed to the task-assigned that follows it in the log, in milliseconds. */
async function handovers(execution: string): Promise<number[]> {
  const { rows } = await client.query<{ ms: number }>(
    `SELECT extract(epoch FROM created_at - before)::float8 * 1000 AS ms FROM (
       SELECT event_type, created_at, max(created_at) FILTER (WHERE event_type = 'task-completed') OVER (ORDER BY seq) AS before
         FROM agent_execution_logs WHERE execution_id = $1) l WHERE event_type = 'task-assigned' AND before IS NOT NULL`,
    [execution],
  );
  return rows.map(({ ms }) => ms);
}

const chain = (length: number, typeOf: (index: number) => string): PlannedTask[] =>
  Array.from({ length }, (_, index) => ({
    name: `t${index}`,
    agent_type: typeOf(index),
    needs: index === 0 ? [] : [`t${index - 1}`],
  }));

async function runChain(typeOf: (index: number) => string): Promise<number[]> {
  const execution = await planned(client, venture, chain(CHAIN, typeOf));
  await client.query('SELECT rowcast.start_execution($1)', [execution]);
  await allDone();
  return handovers(execution);
}

console.log(`${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}, PostgreSQL ${cluster.version}, fsync on`);

// The rate.
const workers = await Promise.all(
  ['w1', 'w2'].map((name) => workerProcess(name, Object.fromEntries(TYPES.map((type) => [type, 4])))),
);
for (let pass = 1; pass <= PASSES; pass++) {
  const executions: string[] = [];
  for (let i = 0; i < EXECUTIONS; i++) {
    const tasks = Array.from({ length: TASKS }, (_, index) => ({
      name: `t${index}`,
      agent_type: TYPES[index % TYPES.length] ?? 'a',
      needs: index < WIDTH ? [] : [`t${index - WIDTH}`],
    }));
    executions.push(await planned(client, venture, tasks));
  }
  const began = performance.now();
  for (const id of executions) await client.query('SELECT rowcast.start_execution($1)', [id]);
  await allDone();
  const rate = (EXECUTIONS * TASKS * 1000) / (performance.now() - began);
  console.log(`pass ${pass}: ${rate.toFixed(0)} tasks/s, ${(rate * 3).toFixed(0)} events/s, two worker processes`);
}
await Promise.all(workers.map(ended));

// Queues of jobs, which have the same number of jobs in one pass.
const home = queueHome();
if (home === null) throw new Error('graphile-worker and pg-boss cannot be installed');
for (const library of LIBRARIES) {
  const rate = await queueRate(library, home, cluster.url, client, EXECUTIONS * TASKS * PASSES);
  console.log(`${library}: ${rate.toFixed(0)} jobs/s without dependencies and without a log, two worker processes`);
}

// Handing over.
const database = connectDatabase(cluster.url);
const local = new AgentWorker(database, { agents: { same: { slots: 4, run: () => null } }, gateway });
await local.start();
console.log(`next task, same type, worker in the process of a gateway: ${ms(await runChain(() => 'same'))}`);
await local.stop();

const elsewhere = [await workerProcess('x', { x: 4 }), await workerProcess('y', { y: 4 })];
console.log(
  `next task, another type, another process by SQL: ${ms(await runChain((index) => (index % 2 === 0 ? 'x' : 'y')))}`,
);
await Promise.all(elsewhere.map(ended));

const stopping = new AbortController();
const http = ['p', 'q'].map(async (type) => {
  const post = async (path: string, body: object, headers = {}) =>
    (
      await fetch(`${gateway.url}/api/agents/tasks/${path}`, { method: 'POST', body: JSON.stringify(body), headers })
    ).json() as Promise<{ task: Claimed | null }>;
  while (!stopping.signal.aborted) {
    const { task } = await post('claim', { worker: type, agent_types: [type], wait: 1 });
    if (task) await post(`${task.task_id}/complete`, {}, { Lease: task.lease });
  }
});
console.log(
  `next task, another type, another worker by HTTP: ${ms(await runChain((index) => (index % 2 === 0 ? 'p' : 'q')))}`,
);
stopping.abort();
await Promise.all(http);

// Claims of a full house.
for (let i = 0; i < VENTURES; i++) {
  const tasks = Array.from({ length: READY / VENTURES }, (_, index) => ({ name: `t${index}`, agent_type: 'full' }));
  const execution = await planned(client, await newVenture(client), tasks);
  await client.query('SELECT rowcast.start_execution($1)', [execution]);
}
await client.query('ANALYZE');
const claims: number[] = [];
for (let i = 0; i < 300; i++) {
  const began = performance.now();
  await claim(client, ['full']);
  claims.push(performance.now() - began);
}
console.log(`a claim with ${READY} ready tasks of ${VENTURES} ventures: ${ms(claims)}`);

await gateway.stop();
await database.close();
await client.end();
await cluster.stop();
await rm(dataDir, { recursive: true });
