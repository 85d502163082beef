import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';

const EXECUTIONS = '/api/agents/executions';

let database: TestDatabase;
let gateways: [Gateway, Gateway];
let writer: pg.Pool;
let venture: string;
let ann: string;
beforeAll(async () => {
  database = await createDatabase();
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  const start = () => startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
  gateways = [await start(), await start()];
  venture = await createVenture(writer, 'ann', 'bob');
  ann = await tokenFor('ann');
});
afterAll(async () => {
  await Promise.all(gateways.map((gateway) => gateway.stop()));
  await writer.end();
  await database.drop();
});

const send = (method: string, path: string, body: unknown, key: string, token = ann, gateway = 0) =>
  ask(gateways[gateway % 2] as Gateway, path, token, {
    method,
    headers: { 'Idempotency-Key': key },
    body: JSON.stringify(body),
  });
const count = async (text: string, values: unknown[]) =>
  (await writer.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${text}`, values)).rows[0]?.n;
const keys = (key: string) => count('rowcast.idempotency_keys WHERE key = $1', [key]);

test('of 50 equal requests at once, to two gateways, one writes, and all get its answer', async () => {
  const id = await createExecution(writer, venture);
  const requests: [string, string, unknown, number, string][] = [
    ['POST', EXECUTIONS, { venture_id: venture, metadata: { b: 1, a: 2 } }, 201, 'create'],
    ['PATCH', `${EXECUTIONS}/${id}/logs`, { logs: [{ message: 'one' }, { message: 'two' }] }, 200, 'append'],
    ['POST', `${EXECUTIONS}/${id}/metrics`, { metric_name: 'tokens', metric_value: 1 }, 201, 'record'],
    ['PATCH', `${EXECUTIONS}/${id}`, { stage_number: 3 }, 200, 'change'],
  ];
  for (const [method, path, body, status, key] of requests) {
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => send(method, path, body, key, ann, index)),
    );
    const [first] = answers;
    expect(answers.map((answer) => [answer.status, JSON.stringify(answer.body)])).toEqual(
      answers.map(() => [status, JSON.stringify(first?.body)]),
    );
    const replays = answers.map(({ headers }) => headers.get('idempotent-replayed'));
    expect(replays.filter((replayed) => replayed === null)).toHaveLength(1);
    expect(replays.filter((replayed) => replayed === 'true')).toHaveLength(49);
    if (key === 'create') expect(new Set(answers.map(({ headers }) => headers.get('location'))).size).toBe(1);
  }
  expect(await count('agent_executions WHERE venture_id = $1 AND execution_id <> $2', [venture, id])).toBe(1);
  const { rows } = await writer.query(
    'SELECT event_type AS type, message FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq',
    [id],
  );
  expect(rows.map(({ message }) => message)).toEqual(['execution is running', 'one', 'two', 'tokens = 1', 'stage 3']);
});

test('another request with the same key is refused; the same key of another user is another key', async () => {
  const first = await send('POST', EXECUTIONS, { venture_id: venture }, 'mine');
  expect(first.status).toBe(201);
  for (const body of [
    { venture_id: venture, metadata: {} },
    { venture_id: venture, initial_status: 'running' },
  ]) {
    expect(await send('POST', EXECUTIONS, body, 'mine')).toMatchObject({
      status: 422,
      body: { code: 'idempotency_key_reused' },
    });
  }
  const logs = await send('PATCH', `${EXECUTIONS}/${first.body.execution_id}/logs`, { message: 'x' }, 'mine');
  expect(logs.status).toBe(422);
  const bob = await send('POST', EXECUTIONS, { venture_id: venture }, 'mine', await tokenFor('bob'));
  expect(bob.status).toBe(201);
  expect(bob.body.execution_id).not.toBe(first.body.execution_id);
  // In the body it is the same key.
  const inBody = await ask(gateways[1], EXECUTIONS, ann, {
    method: 'POST',
    body: JSON.stringify({ venture_id: venture, idempotency_key: 'mine' }),
  });
  expect(inBody.body).toEqual(first.body);
  expect(inBody.headers.get('idempotent-replayed')).toBe('true');
});

test('a request that fails keeps nothing, not even its key: it may be sent again when it can succeed', async () => {
  const id = await createExecution(writer, venture, 'pending');
  const path = `${EXECUTIONS}/${id}`;
  expect((await send('PATCH', path, { status: 'completed' }, 'early')).status).toBe(409);
  const broken = { logs: [{ message: 'fine' }, { context: '\0' }] };
  expect((await send('PATCH', `${path}/logs`, broken, 'broken')).status).toBe(400);
  expect([await keys('early'), await keys('broken')]).toEqual([0, 0]);
  expect(await count('agent_execution_logs WHERE execution_id = $1', [id])).toBe(0);
  await send('PATCH', path, { status: 'running' }, 'start');
  expect((await send('PATCH', path, { status: 'completed' }, 'early')).status).toBe(200);
  // What was done once is answered so also when it could not be done now.
  const again = await send('PATCH', path, { status: 'running' }, 'start');
  expect(again).toMatchObject({ status: 200, body: { status: 'running' } });
});

test('a request whose first try is still under way waits for it; if that fails, it is done', async () => {
  const id = await createExecution(writer, venture);
  const holder = await writer.connect();
  await holder.query('BEGIN');
  await holder.query('SELECT FROM agent_executions WHERE execution_id = $1 FOR UPDATE', [id]);
  const tries = [0, 1].map((gateway) =>
    send('PATCH', `${EXECUTIONS}/${id}/logs`, { message: 'once' }, 'waits', ann, gateway),
  );
  const waiting = `pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
  await until(async () => (await count(waiting, [])) === 2, { what: 'both to wait' });
  // The one that waits for the row is ended; the other waits for it, and then for the row.
  await holder.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
      AND wait_event_type = 'Lock' AND query LIKE '%FOR NO KEY UPDATE%'`,
  );
  await holder.query('COMMIT');
  holder.release();
  const answers = await Promise.all(tries);
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 503]);
  expect(await count(`agent_execution_logs WHERE execution_id = $1 AND message = 'once'`, [id])).toBe(1);
});
