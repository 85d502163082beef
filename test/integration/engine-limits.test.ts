import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Ticker } from '../../server/engine/ticker.js';
import { makeLogger } from '../../server/ground/logger.js';
import { connectDatabase } from '../../server/postgres/connect-database.js';
import {
  brokenLaws,
  claim,
  claimed,
  complete,
  type EngineDatabase,
  engineDatabase,
  poolOf,
  started,
  statusOf,
  value,
} from '../support/engine.js';
import { newVenture } from '../support/writer.js';

const CHAIN = [
  { name: 'one', agent_type: 'a' },
  { name: 'two', agent_type: 'a', needs: ['one'] },
];

let database: EngineDatabase;
let client: EngineDatabase['client'];
let venture: string;
beforeAll(async () => {
  database = await engineDatabase();
  ({ client, venture } = database);
});
afterAll(async () => {
  expect(await brokenLaws(client)).toEqual([]);
  await database.drop();
});

test('cost limit: what has cost so much is cancelled, on every way of reporting', async () => {
  const execution = await started(client, venture, CHAIN, { cost_limit: 1, budget: 1 });
  const { task_id, lease } = await claimed(client, 'a');
  const report = JSON.stringify({ usage: { cost: 1 } });
  expect(await value(client, 'SELECT rowcast.heartbeat_task($1, $2, $3)', [task_id, lease, report])).toBe('cancelled');
  expect(await statusOf(client, execution)).toBe('cancelled');
});

test('concurrency key: of a venture one execution is under way, the others wait in the order of their starts', async () => {
  const plan = [CHAIN, { concurrency_key: 'invoice' }] as const;
  const other = await newVenture(client);
  const [first, second, third] = [
    await started(client, venture, ...plan),
    await started(client, venture, ...plan),
    await started(client, venture, ...plan),
  ];
  const elsewhere = await started(client, other, ...plan);
  const all = async () => {
    const found: string[] = [];
    for (const id of [first, second, third, elsewhere]) found.push(await statusOf(client, id));
    return found;
  };
  const due = () => client.query('SELECT rowcast.attend(o) FROM rowcast.overdue() o');
  await due();
  expect(await all()).toEqual(['running', 'pending', 'pending', 'running']);
  const door = client.query(`UPDATE agent_executions SET status = 'running' WHERE execution_id = $1`, [second]);
  await expect(door).rejects.toMatchObject({ code: 'RC001', constraint: 'state_conflict' });
  await client.query('SELECT rowcast.pause_execution($1)', [first]);
  await due();
  expect(await all()).toEqual(['paused', 'pending', 'pending', 'running']);
  await client.query('SELECT rowcast.cancel_execution($1)', [first]);
  await due();
  expect(await all()).toEqual(['cancelled', 'running', 'pending', 'running']);
  for (const id of [second, third, elsewhere]) await client.query('SELECT rowcast.cancel_execution($1)', [id]);
});

test('concurrency key: claims of tasks with one key, from many connections and of many types, meet without an error', async () => {
  const types = ['k1', 'k2', 'k3', 'k4'];
  const tasks = types.map((type) => ({ name: type, agent_type: type, concurrency_key: 'one' }));
  const executions = await Promise.all(Array.from({ length: 25 }, () => started(client, venture, tasks)));
  const pool = poolOf(database.url, 8);
  let left = executions.length * tasks.length;
  const work = async (worker: number) => {
    while (left > 0) {
      const task = await claim(pool, types, `w${worker}`);
      if (task === null) continue;
      await complete(pool, task);
      left -= 1;
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, worker) => work(worker)));
  await pool.end();
});

test('E19: a fork gives its stages the names of the original, also where a stage has no tasks', async () => {
  const tasks = [
    { name: 'one', agent_type: 'a', stage: 2 },
    { name: 'two', agent_type: 'a', stage: 4, needs: ['one'] },
  ];
  const request = { stages: ['A', 'B', 'C', 'D'], tasks };
  const execution = await value<string>(client, 'SELECT rowcast.plan_execution($1, $2)', [venture, request]);
  await client.query('SELECT rowcast.cancel_execution($1)', [execution]);
  const fork = await value<string>(client, 'SELECT rowcast.fork_execution($1)', [execution]);
  const stages = `SELECT context -> 'stages' FROM agent_execution_logs WHERE execution_id = $1 AND event_type = 'execution-planned'`;
  const named = [
    { name: 'B', steps: 1 },
    { name: 'D', steps: 1 },
  ];
  expect(await value(client, stages, [execution])).toEqual(named);
  expect(await value(client, stages, [fork])).toEqual(named);
  await client.query('SELECT rowcast.cancel_execution($1)', [fork]);
});

test('retention: what ended long ago is deleted with all that is theirs; what cannot be deleted keeps no other', async () => {
  const [kept, old, recent, open] = [
    await started(client, venture, CHAIN),
    await started(client, venture, CHAIN),
    await started(client, venture, CHAIN),
    await started(client, venture, CHAIN),
  ];
  for (const id of [kept, old, recent]) await client.query('SELECT rowcast.cancel_execution($1)', [id]);
  const age = `UPDATE strategy_executions SET ended_at = now() - $2::interval WHERE execution_id = $1`;
  await client.query(age, [kept, '32 days']);
  await client.query(age, [old, '31 days']);
  await client.query('CREATE TABLE invoices (execution_id uuid REFERENCES agent_executions)');
  await client.query('INSERT INTO invoices VALUES ($1)', [kept]);
  const rows = `INSERT INTO agent_execution_logs (execution_id, event_type, log_level, message)
    SELECT $1, 'note', 'info', 'one of many' FROM generate_series(1, 20000)`;
  await client.query(rows, [old]);
  const services = connectDatabase(database.url);
  await new Ticker(services, makeLogger('silent'), 30).sweep();
  await services.close();
  const left = 'SELECT count(*)::int FROM agent_tasks WHERE execution_id = $1';
  const counts = [];
  for (const id of [kept, old, recent, open]) counts.push(await value(client, left, [id]));
  expect(counts).toEqual([CHAIN.length, 0, CHAIN.length, CHAIN.length]);
  await client.query('SELECT rowcast.cancel_execution($1)', [open]);
});
