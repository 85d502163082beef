import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { AgentError, type AgentFunction } from '../../server/engine/attempt.js';
import type { Bell } from '../../server/engine/carrier.js';
import { Engine } from '../../server/engine/engine.js';
import { type Agent, AgentWorker } from '../../server/engine/worker.js';
import type { LocalGateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/ground/logger.js';
import { type ConnectedDatabase, connectDatabase } from '../../server/postgres/connect-database.js';
import {
  brokenLaws,
  type EngineDatabase,
  engineDatabase,
  events,
  statuses,
  statusOf,
  value,
} from '../support/engine.js';
import { startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';

let database: EngineDatabase;
let client: EngineDatabase['client'];
let gateway: LocalGateway;
let service: ConnectedDatabase;
let engine: Engine;
const workers: AgentWorker[] = [];

beforeAll(async () => {
  database = await engineDatabase();
  client = database.client;
  await client.query(
    `INSERT INTO agent_types (agent_type, backoff_base_ms, lease_seconds) VALUES ('short', 0, 1), ('a', 0, 30), ('b', 0, 30)`,
  );
  gateway = await startTestGateway(database.url, { ROWCAST_LOG_LEVEL: 'silent' });
  service = connectDatabase(database.url);
  engine = new Engine(service);
});
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop({ drain: 0 });
});
afterAll(async () => {
  expect(await brokenLaws(client)).toEqual([]);
  await gateway.stop();
  await service.close();
  await database.drop();
});

async function work(agents: Record<string, AgentFunction | Agent>, bell: Bell | null = gateway): Promise<AgentWorker> {
  const full = Object.entries(agents).map(([type, agent]) => [
    type,
    typeof agent === 'function' ? { run: agent } : agent,
  ]);
  const worker = new AgentWorker(service, {
    agents: Object.fromEntries(full),
    logger: makeLogger('silent'),
    ...(bell && { gateway: bell }),
  });
  workers.push(worker);
  await worker.start();
  return worker;
}

async function start(tasks: Parameters<Engine['start']>[1]['tasks'], options = {}): Promise<string> {
  return (await engine.start(database.venture, { tasks, options })).value.execution_id;
}

const ends = (execution: string, status = 'completed') =>
  until(async () => (await statusOf(client, execution)) === status, { what: `the execution to be ${status}` });

test('E14: a worker runs a plan, and agents get the results of the tasks before', async () => {
  await work({ a: () => ({ pages: 3 }), b: ({ results }) => results });
  const execution = await start([
    { name: 'one', agent_type: 'a' },
    { name: 'two', agent_type: 'b', needs: ['one'] },
  ]);
  await ends(execution);
  expect(
    await value(client, `SELECT output FROM agent_tasks WHERE execution_id = $1 AND name = 'two'`, [execution]),
  ).toEqual({ one: { pages: 3 } });
});

test('items become tasks by the rules of the table, which are logged', async () => {
  const ran: string[] = [];
  const agent = ({ name }: { name: string }) => void ran.push(name);
  await work({ research: agent, analysis: agent, email: agent, coordination: agent });
  const items = [
    { id: 'market', text: 'Research the market' },
    { id: 'letter', text: 'Send the letter', needs: ['market'] },
  ];
  const { value: started, replayed } = await engine.start(database.venture, { items }, 'key 1'.replace(' ', '-'));
  expect([started.tasks, replayed]).toEqual([4, false]);
  await ends(started.execution_id);
  expect(ran).toEqual(['market/research', 'market/analysis', 'letter/email', 'letter/coordination']);
  const again = await engine.start(database.venture, { items }, 'key-1');
  expect(again).toEqual({ value: started, replayed: true }); // E16
  const logged = await value(
    client,
    'SELECT jsonb_agg(item_ref ORDER BY item_ref) FROM task_propagation_logs WHERE execution_id = $1 AND cardinality(task_ids) = 2',
    [started.execution_id],
  );
  expect(logged).toEqual(['letter', 'market']);
});

test('E9: an error is tried again by its class; one that is not known is permanent', async () => {
  let calls = 0;
  await work({
    a: () => {
      calls += 1;
      if (calls < 3) throw new AgentError('transient', '503');
    },
    b: () => {
      throw new Error('a mistake');
    },
  });
  const flaky = await start([{ name: 'flaky', agent_type: 'a' }]);
  await ends(flaky);
  expect(calls).toBe(3);
  const broken = await start([{ name: 'broken', agent_type: 'b' }]);
  await ends(broken, 'failed');
  expect((await events(client, broken)).filter((line) => line.startsWith('task-'))).toEqual([
    'task-ready broken',
    'task-assigned broken',
    'task-failed broken',
  ]);
});

test('what cannot be stored fails the task at once', async () => {
  await work({ a: () => 'x'.repeat(300_000) });
  await ends(await start([{ name: 'large', agent_type: 'a' }]), 'failed');
});

test('E15: cancel reaches the signal of an agent, in the process of a gateway and elsewhere', async () => {
  for (const bell of [gateway, null]) {
    let aborted = 0;
    let running = false;
    const worker = await work(
      {
        a: ({ signal }) => {
          running = true;
          return new Promise((_, reject) =>
            signal.addEventListener('abort', () => {
              aborted = performance.now();
              reject(signal.reason);
            }),
          );
        },
      },
      bell,
    );
    const execution = await start([{ name: 'long', agent_type: 'a' }]);
    await until(() => running, { what: 'the agent to run' });
    const began = performance.now();
    await engine.cancel(execution, 'enough');
    await until(() => aborted > 0, { what: 'the abort', deadlineMs: 2_000 });
    expect(aborted - began).toBeLessThan(5_000); // in numbers: the fault tests
    await worker.stop();
    expect((await events(client, execution)).at(-1)).toBe('execution-cancelled');
  }
});

test('progress, usage and a checkpoint; the next attempt gets the checkpoint', async () => {
  const seen: unknown[] = [];
  await work({
    short: async ({ attempt, checkpoint, progress, save, use, signal }) => {
      seen.push(checkpoint);
      if (attempt > 1) return;
      progress(40, 'page 4');
      use({ tokens: 7, cost: 0.5 });
      await save({ page: 4 });
      throw new AgentError('transient', signal.aborted ? 'aborted' : 'again');
    },
  });
  const execution = await start([{ name: 'pages', agent_type: 'short' }]);
  await ends(execution);
  expect(seen).toEqual([null, { page: 4 }]);
  expect(await events(client, execution)).toContain('task-progress pages');
  expect(await value(client, 'SELECT spent FROM strategy_executions WHERE execution_id = $1', [execution])).toBe('0.5');
});

test('a task that runs longer than its lease keeps it by heartbeats', async () => {
  let attempts = 0;
  let release = () => {};
  await work({
    short: () => {
      attempts += 1;
      return new Promise<void>((resolve) => {
        release = resolve;
      });
    },
  });
  const execution = await start([{ name: 'long', agent_type: 'short' }]);
  const over = `SELECT clock_timestamp() > started_at + interval '1.5 seconds' FROM agent_tasks WHERE execution_id = $1`;
  await until(() => value(client, over, [execution]), { what: 'a time longer than the lease' });
  release();
  await ends(execution);
  expect(attempts).toBe(1);
});

test('an agent waits for a signal without a slot', async () => {
  await work({ a: ({ input, waitFor }) => (input.signals === undefined ? waitFor('approved') : input.signals) });
  const execution = await start([
    { name: 'first', agent_type: 'a' },
    { name: 'second', agent_type: 'a' },
  ]);
  const waiting = async () => Object.values(await statuses(client, execution)).every((status) => status === 'waiting');
  await until(waiting, { what: 'both to wait, with one slot' });
  expect(await engine.signal(execution, 'approved', { by: 'ann' })).toBe(true);
  await ends(execution);
});

test('what an agent has used before it waits counts against the limit', async () => {
  await work({
    a: ({ input, use, waitFor }) => {
      use({ cost: 5 });
      return input.signals === undefined ? waitFor('go') : null;
    },
  });
  const execution = await start([{ name: 'dear', agent_type: 'a' }], { cost_limit: 1 });
  const ended = () => value(client, 'SELECT ended_at FROM strategy_executions WHERE execution_id = $1', [execution]);
  await until(ended, { what: 'the limit to be reached' });
  expect(await value(client, 'SELECT spent FROM strategy_executions WHERE execution_id = $1', [execution])).toBe('5');
});

test('an agent adds tasks: partial results are there when one of them fails', async () => {
  await work({
    a: ({ addTasks }) =>
      addTasks([
        { name: 'p1', agent_type: 'b', input: { fine: true } },
        { name: 'p2', agent_type: 'b' },
        { name: 'join', agent_type: 'short', needs: ['p1', 'p2'].map((task) => ({ task, on: 'ended' as const })) },
      ]),
    b: ({ input }) => {
      if (input.fine !== true) throw new Error('no');
      return 'part';
    },
    short: ({ results }) => results,
  });
  const execution = await start([{ name: 'split', agent_type: 'a' }]);
  await ends(execution, 'failed');
  expect(
    await value(client, `SELECT output FROM agent_tasks WHERE execution_id = $1 AND name = 'join'`, [execution]),
  ).toEqual({ p1: 'part' });
});

test('E25: a worker that stops gives back what does not end in time; no attempt is lost', async () => {
  let running = 0;
  const forever: AgentFunction = ({ signal }) => {
    running += 1;
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  const worker = await work({ a: { slots: 2, run: forever } });
  const execution = await start([
    { name: 'one', agent_type: 'a' },
    { name: 'two', agent_type: 'a' },
  ]);
  await until(() => running === 2, { what: 'both to run' });
  await worker.stop({ drain: 10 });
  expect(await statuses(client, execution)).toEqual({ one: 'ready', two: 'ready' });
  await work({ a: () => 'done' });
  await ends(execution);
  expect(await value(client, 'SELECT max(attempt) FROM agent_tasks WHERE execution_id = $1', [execution])).toBe(1);
});

test('E14: the ticker of a gateway ends the lease of a worker that is gone', async () => {
  const execution = await start([{ name: 'lost', agent_type: 'short' }]);
  await value(client, `SELECT rowcast.claim_task('dead', '{short}')`);
  await work({ short: () => 'done' });
  await ends(execution);
  expect((await events(client, execution)).filter((line) => line.startsWith('task-'))).toEqual([
    'task-ready lost',
    'task-assigned lost',
    'task-retrying lost',
    'task-assigned lost',
    'task-completed lost',
  ]);
});

test('schedules: one execution for each time; a malformed one is disabled', async () => {
  const request = JSON.stringify({ tasks: [{ name: 'x', agent_type: 'a' }] });
  const insert =
    'INSERT INTO execution_schedules (venture_id, name, cron, request, next_at) VALUES ($1, $2, $3, $4, now())';
  await client.query(insert, [database.venture, 'hourly', '0 * * * *', request]);
  await client.query(insert, [database.venture, 'broken', 'whatever', request]);
  const done = async () =>
    value(
      client,
      `SELECT count(*) = 2 FROM execution_schedules WHERE name = 'hourly' AND next_at > now() OR name = 'broken' AND NOT enabled`,
    );
  await until(done, { what: 'the ticker' });
  expect(await value(client, 'SELECT count(*)::int FROM strategy_executions WHERE schedule_id IS NOT NULL')).toBe(1);
});

test('E22: validate writes nothing, and says what is missing', async () => {
  await work({ a: () => null });
  const before = await value(client, 'SELECT count(*)::int FROM agent_executions');
  const review = await engine.validate(database.venture, {
    tasks: [
      { name: 'one', agent_type: 'a' },
      { name: 'two', agent_type: 'never seen', needs: ['one'] },
    ],
  });
  expect(review).toMatchObject({
    valid: true,
    order: ['one', 'two'],
    width: 1,
    critical_path: ['one', 'two'],
    cycle: null,
  });
  expect(review.checks.filter(({ ok }) => !ok).map(({ check }) => check)).toEqual(['agents known', 'agents alive']);
  const ring = [
    { name: 'one', agent_type: 'a', needs: ['two'] },
    { name: 'two', agent_type: 'a', needs: ['one'] },
  ];
  expect(await engine.validate(database.venture, { tasks: ring })).toMatchObject({
    valid: false,
    cycle: ['one', 'two', 'one'],
  });
  expect(await value(client, 'SELECT count(*)::int FROM agent_executions')).toBe(before);
  const items = Array.from({ length: 1_000 }, (_, index) => ({
    id: `i${index}`,
    text: 'Send it',
    needs: index === 0 ? [] : [`i${index - 1}`],
  }));
  const began = performance.now();
  expect((await engine.validate(database.venture, { items })).tasks).toBe(2_000);
  expect(performance.now() - began).toBeLessThan(5_000);
});
