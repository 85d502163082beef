import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { AgentError, type AgentFunction } from '../../server/engine/attempt.js';
import { openCarrier } from '../../server/engine/carriers/open.js';
import type { LocalGateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/ground/logger.js';
import { seed } from '../property/seed.js';
import { type CarrierWorld, type CarrierWorlds, carrierWorlds, onAll } from '../support/carriers.js';
import {
  brokenLaws,
  type EngineDatabase,
  engineDatabase,
  events,
  type PlannedTask,
  randomPlan,
  started,
  statuses,
  statusOf,
  value,
} from '../support/engine.js';
import { fairNow } from '../support/fair-clock.js';
import { startTestGateway } from '../support/gateway.js';
import { makeRandom } from '../support/random.js';
import { until } from '../support/until.js';
import { newVenture } from '../support/writer.js';

const random = makeRandom(seed('engine-carriers'));
let database: EngineDatabase;
let client: EngineDatabase['client'];
let carriers: CarrierWorlds;
let gateway: LocalGateway;

beforeAll(async () => {
  database = await engineDatabase();
  client = database.client;
  gateway = await startTestGateway(database.url, { ROWCAST_LOG_LEVEL: 'silent' });
  carriers = await carrierWorlds(database, random, { bell: gateway });
  await client.query(`INSERT INTO agent_types (agent_type, backoff_base_ms, lease_seconds, max_running)
    SELECT c || ' ' || t, 0, 2, CASE t WHEN 'two' THEN 2 END
      FROM unnest(ARRAY['claims', 'bullmq', 'dbos']) c, unnest(ARRAY['a', 'b', 'c', 'd', 'two']) t`);
}, 60_000);
afterAll(async () => {
  await carriers.stop();
  await gateway.stop();
  expect(await brokenLaws(client)).toEqual([]);
  await database.drop();
});

const start = (world: CarrierWorld, tasks: readonly PlannedTask[], options = {}, venture = database.venture) =>
  started(client, venture, world.plan(tasks), options);
const ends = (execution: string, status = 'completed', deadlineMs = 10_000) =>
  until(async () => (await statusOf(client, execution)) === status, {
    what: `an execution to be ${status}`,
    deadlineMs,
  });
const many = (count: number, agent_type = 'a', more: object = {}): PlannedTask[] =>
  Array.from({ length: count }, (_, index) => ({ name: `t${index}`, agent_type, ...more }));
const forever: AgentFunction = ({ signal }) =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

test('E20, E14: a plan runs in its order, with retries and results; each task begins within a second', async () => {
  await onAll(carriers, async (world) => {
    await world.work({
      a: () => ({ pages: 3 }),
      b: ({ attempt }) => {
        if (attempt < 3) throw new AgentError('transient', '503');
      },
      c: ({ results }) => results,
    });
    const before = fairNow();
    const execution = await start(world, [
      { name: 'find', agent_type: 'a' },
      { name: 'flaky', agent_type: 'b', needs: ['find'] },
      { name: 'send', agent_type: 'c', needs: ['find', 'flaky'] },
    ]);
    await ends(execution);
    expect(fairNow() - before).toBeLessThan(5_000); // five beginnings
    const output = await value(client, `SELECT output FROM agent_tasks WHERE execution_id = $1 AND name = 'send'`, [
      execution,
    ]);
    expect(output).toEqual({ find: { pages: 3 }, flaky: null });
    expect((await events(client, execution)).filter((line) => line === 'task-assigned flaky')).toHaveLength(3);
  });
}, 60_000);

test('E20, E12: limits of types, keys and slots are exact', async () => {
  await onAll(carriers, async (world) => {
    const running = { two: 0, a: 0, b: 0 };
    const most = { two: 0, a: 0, b: 0 };
    const limits = { two: 2, a: 1, b: 2 };
    const counting =
      (type: keyof typeof running): AgentFunction =>
      async () => {
        running[type] += 1;
        most[type] = Math.max(most[type], running[type]);
        await until(() => most[type] >= limits[type], { what: `${limits[type]} of ${type} to run` });
        running[type] -= 1;
      };
    await world.work({
      two: { slots: 5, run: counting('two') },
      a: { slots: 5, run: counting('a') },
      b: { slots: 2, run: counting('b') },
    });
    const executions = [
      await start(world, many(6, 'two')),
      await start(world, many(3, 'a', { concurrency_key: world.name })),
      await start(world, many(5, 'b')),
      await start(world, many(3, 'b'), { max_parallel: 1 }),
    ];
    for (const execution of executions) await ends(execution);
    expect(most).toEqual(limits);
  });
}, 60_000);

test('E20: BullMQ has one job for a task that waits, however often it is sent, and another one once that was taken', async () => {
  await onAll(carriers, async ({ name, url }) => {
    if (name !== 'bullmq' || url === null) return;
    const carrier = await openCarrier(url, makeLogger('silent'));
    const ready = () => ({ taskId: crypto.randomUUID(), attempt: 1, agentType: 'sent twice', priority: 0 });
    const [task, last] = [ready(), ready()];
    for (let i = 0; i < 3; i++) await carrier.send([task]);
    const carried: string[] = [];
    const carry = async (taskId: string) => {
      carried.push(taskId);
      if (carried.length === 1) await carrier.send([task, last]);
    };
    const slots = new Map([[task.agentType, 1]]);
    const consumer = await carrier.consume({ name: 'w', slots, carry, run: async () => null });
    await until(() => carried.includes(last.taskId), { what: 'the last job' });
    expect(carried).toEqual([task.taskId, task.taskId, last.taskId]);
    await consumer.stop();
    await carrier.close();
  });
});

test('E20, E13: ventures take turns, whatever another has queued', async () => {
  const [large, small] = [await newVenture(client), await newVenture(client)];
  await onAll(carriers, async (world) => {
    await world.rest();
    const first = await start(world, many(16), {}, large);
    const second = await start(world, many(3), {}, small);
    await world.work({ a: { slots: 2, run: () => null } });
    await ends(second);
    await ends(first);
    // A task for each turn, and what was on its way.
    const ahead = `SELECT count(*)::int FROM agent_tasks WHERE execution_id = $1
      AND started_at < (SELECT max(started_at) FROM agent_tasks WHERE execution_id = $2)`;
    expect(await value(client, ahead, [first, second])).toBeLessThan(10);
  });
}, 60_000);

test('E20, E6, E15: nothing begins in a pause, a resume continues at once, and a cancellation aborts', async () => {
  await onAll(carriers, async (world) => {
    let aborted = false;
    await world.work({
      a: () => null,
      b: ({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            aborted = true;
            reject(signal.reason);
          }),
        ),
    });
    const execution = await start(world, [...many(2), { name: 'long', agent_type: 'b', needs: ['t0', 't1'] }]);
    await client.query(`SELECT rowcast.pause_execution($1, 'stop')`, [execution]);
    await client.query('SELECT rowcast.resume_execution($1)', [execution]);
    await until(async () => (await statuses(client, execution)).long === 'running', { what: 'the last one to run' });
    await client.query('SELECT rowcast.cancel_execution($1)', [execution]);
    await until(() => aborted, { what: 'the abort', deadlineMs: 2_000 });
    expect((await events(client, execution)).at(-1)).toBe('execution-cancelled');
  });
}, 60_000);

test('E20, E25: a worker that stops gives back what it runs, and the next one goes on with the same attempt', async () => {
  await onAll(carriers, async (world) => {
    await world.work({ a: { slots: 2, run: forever } });
    const execution = await start(world, many(3));
    const running = async () =>
      Object.values(await statuses(client, execution)).filter((status) => status === 'running').length === 2;
    await until(running, { what: 'two to run' });
    await world.rest();
    await world.work({ a: () => null });
    await ends(execution);
    expect(await value(client, 'SELECT max(attempt) FROM agent_tasks WHERE execution_id = $1', [execution])).toBe(1);
  });
}, 60_000);

test('E20: also when a carrier drops and doubles a fifth of what it is given, and of what it brings', async () => {
  await onAll(carriers, async (world) => {
    const begun: string[] = [];
    const own = random.branch(world.name);
    const run: AgentFunction = ({ task_id, attempt }) => {
      begun.push(`${task_id} ${attempt}`);
      if (own.chance(0.1)) throw new AgentError('transient', 'chance');
      if (own.chance(0.03)) throw new AgentError('permanent', 'chance');
    };
    const agents = Object.fromEntries(['a', 'b', 'c', 'd'].map((type) => [type, { slots: 3, run }]));
    await world.work(agents);
    world.lossy(true);
    const executions: string[] = [];
    for (let i = 0; i < 4; i++) executions.push(await start(world, randomPlan(own)));
    for (const execution of executions) {
      if (own.chance(0.3)) await client.query('SELECT rowcast.pause_execution($1)', [execution]).catch(() => {});
      await client.query('SELECT rowcast.resume_execution($1)', [execution]).catch(() => {});
    }
    const open = `SELECT count(*)::int FROM strategy_executions WHERE execution_id = ANY ($1) AND ended_at IS NULL`;
    await until(async () => (await value(client, open, [executions])) === 0, {
      what: 'all to end',
      deadlineMs: 30_000,
    });
    world.lossy(false);
    expect(new Set(begun).size).toBe(begun.length); // each attempt began once
  });
}, 90_000);
