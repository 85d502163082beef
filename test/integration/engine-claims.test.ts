import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import {
  brokenLaws,
  type Claimed,
  claim,
  claimed,
  type EngineDatabase,
  engineDatabase,
  poolOf,
  started,
  value,
} from '../support/engine.js';
import { newVenture } from '../support/writer.js';

let database: EngineDatabase;
let client: EngineDatabase['client'];
let pool: pg.Pool;

beforeAll(async () => {
  database = await engineDatabase();
  client = database.client;
  pool = poolOf(database.url, 8);
});
afterAll(async () => {
  expect(await brokenLaws(client)).toEqual([]);
  await pool.end();
  await database.drop();
});

/** So many tasks of one type that wait for nothing. */
const many = (count: number, agent_type: string, more: object = {}) =>
  Array.from({ length: count }, (_, index) => ({ name: `t${index}`, agent_type, ...more }));

async function claimAll(type: string): Promise<Claimed[]> {
  const found: Claimed[] = [];
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let task = await claim(pool, [type]); task !== null; task = await claim(pool, [type])) found.push(task);
    }),
  );
  return found;
}

test('E12: under 8 claimers the limit of a type is exact, and so is one task at a time for a key', async () => {
  await client.query(`INSERT INTO agent_types (agent_type, max_running) VALUES ('limited', 3)`);
  for (let i = 0; i < 4; i++) await started(client, database.venture, many(5, 'limited'));
  expect(await claimAll('limited')).toHaveLength(3);
  await started(client, database.venture, many(10, 'keyed', { concurrency_key: 'account 7' }));
  await started(client, await newVenture(client), many(10, 'keyed', { concurrency_key: 'account 7' }));
  expect(await claimAll('keyed')).toHaveLength(2); // one for each venture
});

test('E12: max_parallel bounds the running tasks of an execution', async () => {
  await started(client, database.venture, many(10, 'wide'), { max_parallel: 2 });
  expect(await claimAll('wide')).toHaveLength(2);
});

test('E12: a rate is a bucket', async () => {
  await client.query(`INSERT INTO agent_types (agent_type, rate_count, rate_seconds) VALUES ('rated', 4, 3600)`);
  await started(client, database.venture, many(10, 'rated'));
  expect(await claimAll('rated')).toHaveLength(4);
});

test('E14: with one execution that all claimers want, each gets a task at once', async () => {
  await started(client, database.venture, many(8, 'shared'));
  const found = await Promise.all(Array.from({ length: 8 }, () => claim(pool, ['shared'])));
  expect(found.filter((task) => task !== null)).toHaveLength(8);
});

test('E13: ventures take turns, whatever another has queued', async () => {
  const ventures = [database.venture, await newVenture(client), await newVenture(client), await newVenture(client)];
  for (const [index, venture] of ventures.entries())
    await started(client, venture, many(index === 0 ? 200 : 5, 'fair'));
  const served: (string | undefined)[] = [];
  for (let i = 0; i < 20; i++) served.push((await claim(client, ['fair']))?.execution_id);
  const counts = [...new Set(served)].map((one) => served.filter((other) => other === one).length);
  expect(counts).toEqual([5, 5, 5, 5]);
});

test('the highest priority comes first, of an older execution before a younger', async () => {
  await started(client, database.venture, [
    { name: 'low', agent_type: 'ranked', priority: -1 },
    { name: 'high', agent_type: 'ranked', priority: 10 },
  ]);
  await started(client, database.venture, [{ name: 'younger', agent_type: 'ranked', priority: 10 }]);
  const order = [];
  for (let i = 0; i < 3; i++) order.push((await claim(client, ['ranked']))?.name);
  expect(order).toEqual(['high', 'younger', 'low']);
});

test('a disabled type is not claimed', async () => {
  await client.query(`INSERT INTO agent_types (agent_type, enabled) VALUES ('off', false)`);
  await started(client, database.venture, many(1, 'off'));
  expect(await claim(client, ['off'])).toBeNull();
});

const hand = async (client: pg.Client, { task_id, lease }: Claimed) =>
  (
    await value<{ done: boolean; next: Claimed | null }>(
      client,
      'SELECT rowcast.complete_and_claim($1, $2, NULL, NULL, $3)',
      [task_id, lease, 'w'],
    )
  ).next;

test('E13: complete hands over the next task of the type, of whichever execution and venture is at the turn', async () => {
  const own = await started(client, database.venture, many(4, 'handed'));
  let task: Claimed | null = await claimed(client, 'handed');
  const other = await started(client, await newVenture(client), many(2, 'handed'));
  const served: string[] = [];
  while (task !== null) {
    task = await hand(client, task);
    if (task !== null) served.push(task.execution_id);
  }
  // Which of the two is first is not said: neither has been served while the other had work.
  expect(served.slice(0, 4)).toEqual(served[0] === own ? [own, other, own, other] : [other, own, other, own]);
  expect(served.slice(4)).toEqual([own]);
});

test('C5: a completion that is repeated hands over the same task again, while that runs', async () => {
  await started(client, database.venture, many(3, 'repeated'));
  const first = await claimed(client, 'repeated');
  const next = await hand(client, first);
  if (next === null) throw new Error('nothing was handed over');
  const again = await hand(client, first);
  expect([again?.task_id, again?.lease, again?.attempt]).toEqual([next.task_id, next.lease, next.attempt]);
  const last = await hand(client, next);
  expect(last?.task_id).not.toBe(next.task_id);
  expect(await hand(client, first)).toBeNull();
  expect((await hand(client, next))?.task_id).toBe(last?.task_id);
});

test('E21: what is handed over waits for no lock of another execution, of its log, or of its type', async () => {
  await client.query(`INSERT INTO agent_types (agent_type, max_running) VALUES ('limit', 9)`);
  const held = {
    execution: 'SELECT FROM agent_executions WHERE execution_id = $1 FOR NO KEY UPDATE',
    log: `INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, 'of the application')`,
    type: `SELECT FROM agent_types WHERE agent_type = 'limit' AND $1::uuid IS NOT NULL FOR NO KEY UPDATE`,
  };
  const other = await pool.connect();
  await client.query(`SET lock_timeout = '1s'`);
  try {
    for (const lock of Object.values(held)) {
      await started(client, database.venture, many(1, 'limit'));
      const first = await claimed(client, 'limit');
      const execution = await started(client, database.venture, many(1, 'limit'));
      await other.query('BEGIN');
      await other.query(lock, [execution]);
      expect(await hand(client, first)).toBeNull();
      await other.query('COMMIT');
      const next = await claimed(client, 'limit');
      expect(next.execution_id).toBe(execution);
      expect(await hand(client, next)).toBeNull();
    }
  } finally {
    await client.query('RESET lock_timeout');
    other.release(true);
  }
});

test('a carrier begins an attempt once', async () => {
  const execution = await started(client, database.venture, many(1, 'carried'));
  const task = await value(client, 'SELECT task_id FROM agent_tasks WHERE execution_id = $1', [execution]);
  const begin = (attempt: number) =>
    value<Claimed | null>(pool, 'SELECT rowcast.begin_task($1, $2, $3)', [task, attempt, 'w']);
  const begun = await Promise.all([begin(1), begin(1), begin(1), begin(2)]);
  expect(begun.filter((one) => one !== null)).toHaveLength(1);
});
