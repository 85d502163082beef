import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  brokenLaws,
  claimed,
  complete,
  type EngineDatabase,
  engineDatabase,
  fail,
  started,
} from '../support/engine.js';

let database: EngineDatabase;
let client: EngineDatabase['client'];
/** One that has failed, and one that runs. */
let ended: string;
let running: string;

beforeAll(async () => {
  database = await engineDatabase();
  client = database.client;
  const plan = [
    { name: 'one', agent_type: 'a' },
    { name: 'two', agent_type: 'b', needs: ['one'] },
    { name: 'three', agent_type: 'c' },
  ];
  ended = await started(client, database.venture, plan);
  await complete(client, await claimed(client, 'c'));
  await fail(client, await claimed(client, 'a'), { class: 'permanent' });
  running = await started(client, database.venture, plan);
  await claimed(client, 'a');
  expect(await brokenLaws(client)).toEqual([]);
});
afterAll(async () => {
  await database.drop();
});

const event = (execution: string, type: string, name: string, attempt = 1) => `
  INSERT INTO agent_execution_logs (execution_id, event_type, context, seq)
  SELECT '${execution}', '${type}', jsonb_build_object('step_id', task_id, 'attempt', ${attempt}),
         (SELECT max(seq) + 1 FROM agent_execution_logs WHERE execution_id = '${execution}')
    FROM agent_tasks WHERE execution_id = '${execution}' AND name = '${name}'`;
const task = (execution: string, name: string, set: string) =>
  `UPDATE agent_tasks SET ${set} WHERE execution_id = '${execution}' AND name = '${name}'`;

test.each([
  ['E1', () => task(running, 'three', `status = 'running'`)],
  ['E2', () => event(running, 'task-assigned', 'two')],
  ['E3', () => event(ended, 'log', 'one')],
  ['E4', () => event(running, 'task-assigned', 'one')],
  ['E5', () => event(ended, 'task-completed', 'three')],
  ['E6', () => `${event(running, 'execution-paused', 'one')}; ${event(running, 'task-assigned', 'three')}`],
  ['E7', () => task(ended, 'one', `status = 'ready'`)],
  ['E8', () => task(ended, 'one', `status = 'completed'`)],
  ['E9', () => task(running, 'one', 'attempt = 9')],
  ['E10', () => `DELETE FROM agent_execution_logs WHERE execution_id = '${running}' AND seq = 2`],
])('%s is found where it is broken', async (law, breaks) => {
  try {
    // Without the triggers, which would not let it happen.
    await client.query('BEGIN; SET LOCAL session_replication_role = replica');
    await client.query(breaks());
    expect((await brokenLaws(client)).map((line) => line.split(':')[0])).toContain(law);
  } finally {
    await client.query('ROLLBACK');
  }
});
