import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { advance, begin, type ProgressEvent, type ProgressState, STATE_VERSION } from '../../client/progress/index.js';
import type { Gateway } from '../../server/gateway.js';
import { ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { testClient } from '../support/client.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { type Follower, follow } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';

interface Row {
  readonly seq: number;
}

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Pool;
beforeAll(async () => {
  database = await createDatabase();
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

const EXECUTIONS = '/api/agents/executions';

const doSteps = (id: string, count: number) =>
  writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, message)
     SELECT $1, 'task-completed', 'step ' || n FROM generate_series(1, $2::int) n`,
    [id, count],
  );

test('the state of a snapshot goes on with the events after its position, as if all had been read', async () => {
  const ann = await tokenFor('ann');
  const id = await createExecution(writer, await createVenture(writer, 'ann'));
  await doSteps(id, 3);
  const { body } = await ask(gateway, `${EXECUTIONS}/${id}?logs=none&state=1`, ann);
  expect(body.state).toMatchObject({ version: STATE_VERSION, progress: { seq: 4, steps: { counts: { done: 3 } } } });
  expect(body.position).toMatch(/\.4$/);
  await doSteps(id, 2);
  await writer.query(`UPDATE agent_executions SET status = 'completed' WHERE execution_id = $1`, [id]);
  const all = await ask(gateway, `${EXECUTIONS}/${id}?logs=all&state=1`, ann);
  const from = (state: ProgressState, rows: readonly Row[]): ProgressState =>
    rows.reduce<ProgressState>(
      (before, { seq, ...row }) => advance(before, { seq, row: row as ProgressEvent['row'] }),
      state,
    );
  const later = all.body.logs.filter(({ seq }: Row) => seq > 4);
  expect(from(body.state.progress, later)).toEqual(from(begin(), all.body.logs));
  expect(all.body.state.progress).toEqual(from(begin(), all.body.logs));
  expect((await ask(gateway, `${EXECUTIONS}/${id}`, ann)).body).not.toHaveProperty('state');
});

test('a list counts the executions of each status, whatever it is limited to', async () => {
  const ann = await tokenFor('ann');
  const venture = await createVenture(writer, 'ann');
  for (const status of ['running', 'running', 'completed', 'pending']) await createExecution(writer, venture, status);
  const path = `${EXECUTIONS}?venture_id=${venture}&status=completed&limit=1`;
  const { body } = await ask(gateway, `${path}&counts=1`, ann);
  expect(body.executions).toHaveLength(1);
  expect(body.counts).toEqual({ pending: 1, running: 2, paused: 0, completed: 1, failed: 0, cancelled: 0 });
  expect((await ask(gateway, path, ann)).body).not.toHaveProperty('counts');
  const both = await ask(gateway, `${EXECUTIONS}?ids=${venture}&counts=1`, ann);
  expect(both.body.code).toBe('invalid_request');
});

test('I2, I3: the pages of a list and a subscription from its position have every execution once', async () => {
  const ann = await tokenFor('ann');
  const venture = await createVenture(writer, 'ann');
  const list = async () => (await ask(gateway, `${EXECUTIONS}?venture_id=${venture}&limit=100`, ann)).body;
  const empty = await list();
  expect(empty).toMatchObject({ executions: [], position: expect.stringMatching(/\.0$/) });
  const created: string[] = [];
  let writing = true;
  const writers = [1, 2].map(async () => {
    while (writing && created.length < 90) created.push(await createExecution(writer, venture));
  });
  const client = testClient({ url: gateway.url, token: ann });
  const followed: { listed: string[]; follower: Follower }[] = [];
  for (let round = 0; round < 6; round++) {
    const { executions, position } = round === 0 ? empty : await list();
    const listed = executions.map((each: { execution_id: string }) => each.execution_id);
    followed.push({ listed, follower: follow(client, `venture:${venture}`, position) });
  }
  writing = false;
  await Promise.all(writers);
  for (const { listed, follower } of followed) {
    await follower.count(created.length - listed.length);
    const told = follower.events.map(({ row }) => String(row.execution_id));
    expect([...listed, ...told].sort()).toEqual([...created].sort());
    expect(follower.resets).toEqual([]);
  }
});
