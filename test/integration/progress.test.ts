import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { advance, begin, type ProgressState, stepsOf, viewOf } from '../../client/progress/index.js';
import type { Row } from '../../client/protocol/index.js';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter, newExecution } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

test('an execution written with plain SQL: a subscriber and the table tell the same progress', async () => {
  const execution = await newExecution(writer);
  const tell = (type: string, context: object) =>
    writer.query(`INSERT INTO agent_execution_logs (execution_id, event_type, context) VALUES ($1, $2, $3)`, [
      execution,
      type,
      context,
    ]);
  const set = (assignment: string) =>
    writer.query(`UPDATE agent_executions SET ${assignment} WHERE execution_id = $1`, [execution]);

  let live: ProgressState = begin();
  const client = testClient({ url: gateway.url });
  client.subscribe(`execution:${execution}`, {
    since: 'start',
    onEvent: (event) => {
      live = advance(live, event);
    },
  });

  await tell('execution-planned', {
    stages: [
      { name: 'read', steps: 2 },
      { name: 'write', steps: 3 },
    ],
  });
  await set(`status = 'running', stage_number = 1`);
  for (const id of ['a', 'b']) {
    await tell('task-assigned', { step_id: id, step: `read ${id}`, agent: 'reader' });
    await tell('task-completed', { step_id: id, output: { lines: 3 } });
  }
  await set('stage_number = 2');
  await tell('task-assigned', { step_id: 'c', step: 'write c' });
  await set(`status = 'paused'`);
  await set(`status = 'running'`);
  await tell('task-failed', { step_id: 'c', error: 'disk full' });
  await tell('task-completed', { step_id: 'd' });
  await tell('task-assigned', { step_id: 'e' });
  await writer.query(
    `INSERT INTO execution_metrics (execution_id, metric_name, metric_value) VALUES ($1, 'tokens', 9)`,
    [execution],
  );
  const table = async () => {
    const { rows } = await writer.query<{ seq: string; row: Row }>(
      `SELECT seq, to_jsonb(l) AS row FROM agent_execution_logs l WHERE execution_id = $1 ORDER BY seq`,
      [execution],
    );
    return rows.reduce((state, { seq, row }) => advance(state, { seq: Number(seq), row }), begin());
  };
  const now = Date.now();
  const before = await table();
  expect(viewOf(before, now)).toMatchObject({
    status: 'running',
    percent: 60,
    basis: 'steps',
    stage: { number: 2, name: 'write', of: 2 },
    steps: { done: 3, failed: 1, running: 1, abandoned: 0, total: 5 },
    error: null,
  });
  expect(viewOf(before, now).remaining?.high).toBeGreaterThan(0);
  expect(stepsOf(before).map(({ id, status, stage }) => [id, status, stage])).toEqual([
    ['a', 'done', 1],
    ['b', 'done', 1],
    ['c', 'failed', 2],
    ['d', 'done', 2],
    ['e', 'running', 2],
  ]);
  await until(() => live.seq === before.seq, { what: 'the subscriber to have everything' });
  expect(live).toEqual(before);

  await set(`status = 'completed'`);
  const after = await table();
  await until(() => live.seq === after.seq, { what: 'the subscriber to see the end' });
  expect(live).toEqual(after);
  const view = viewOf(live, Date.now());
  expect(view).toMatchObject({ status: 'completed', percent: 100, steps: { running: 0, abandoned: 1 } });
  expect(view.endedAt).toBe(view.updatedAt);
  expect(Math.abs(Date.now() - (view.endedAt ?? 0))).toBeLessThan(60_000);
});
