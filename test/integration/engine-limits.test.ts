import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  brokenLaws,
  claimed,
  type EngineDatabase,
  engineDatabase,
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

test('cost limit: what has cost so much is cancelled, whoever reports it', async () => {
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

test('retention: executions that ended long ago are deleted with all that is theirs, one at a time', async () => {
  const [old, recent, open] = [
    await started(client, venture, CHAIN),
    await started(client, venture, CHAIN),
    await started(client, venture, CHAIN),
  ];
  for (const id of [old, recent]) await client.query('SELECT rowcast.cancel_execution($1)', [id]);
  await client.query(`UPDATE strategy_executions SET ended_at = now() - interval '31 days' WHERE execution_id = $1`, [
    old,
  ]);
  const purge = () => value(client, 'SELECT rowcast.purge_execution(30)');
  expect([await purge(), await purge()]).toEqual([true, false]);
  const left = 'SELECT count(*)::int FROM agent_tasks WHERE execution_id = $1';
  expect(await value(client, left, [old])).toBe(0);
  expect(await value(client, left, [recent])).toBe(CHAIN.length);
  expect(await value(client, left, [open])).toBe(CHAIN.length);
  await client.query('SELECT rowcast.cancel_execution($1)', [open]);
});
