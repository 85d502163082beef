import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import type { LocalGateway } from '../../server/gateway.js';
import { type ApiAnswer, ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { testClient } from '../support/client.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';

const EXECUTIONS = '/api/agents/executions';
const NOBODY = '00000000-0000-4000-8000-00000000dead';

let database: TestDatabase;
let gateway: LocalGateway;
let writer: pg.Pool;
let venture: string;
// The cast of support/principals.ts.
let ann: string;
let vic: string;
let eve: string;
beforeAll(async () => {
  database = await createDatabase();
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
  venture = await createVenture(writer, 'ann');
  await writer.query(`INSERT INTO venture_members VALUES ($1, 'vic', 'viewer')`, [venture]);
  [ann = '', vic = '', eve = ''] = await Promise.all(['ann', 'vic', 'eve'].map((subject) => tokenFor(subject)));
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

const send = (method: string, path: string, body: unknown, token?: string, headers: Record<string, string> = {}) =>
  ask(gateway, path, token, { method, headers, body: typeof body === 'string' ? body : JSON.stringify(body) });

const rowsOf = async (id: string) => {
  const text =
    'SELECT seq::int, event_type, message, request_id FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq';
  return (await writer.query<Record<string, unknown>>(text, [id])).rows;
};
const refused = ({ status, body, headers }: ApiAnswer) => {
  expect(headers.get('content-type')).toMatch('application/problem+json');
  return [status, body.code];
};

test('an execution from the first request to the last, watched from the position of the first answer', async () => {
  const plan = { stages: [{ name: 'plan', steps: 1 }] };
  const metadata = { agent: 'test' };
  const created = await send('POST', EXECUTIONS, { venture_id: venture.toUpperCase(), metadata, plan }, ann, {
    'X-Request-Id': 'req-create',
  });
  expect(created).toMatchObject({
    status: 201,
    body: { venture_id: venture, status: 'pending', stage_number: null, metadata },
  });
  const { execution_id: id, position } = created.body;
  expect(created.headers.get('location')).toBe(`${EXECUTIONS}/${id}`);
  expect(await ask(gateway, `${EXECUTIONS}/${id}`, ann)).toMatchObject({ status: 200, body: { position } });

  const seen: string[] = [];
  testClient({ url: gateway.url, token: ann }).subscribe(`execution:${id}`, {
    since: position,
    onEvent: ({ seq, type }) => seen.push(`${seq} ${type}`),
  });
  const path = `${EXECUTIONS}/${id}`;
  const id2 = { 'X-Request-Id': 'req-2' };
  expect(await send('PATCH', path, { status: 'running', stage_number: 1 }, ann, id2)).toMatchObject({
    status: 200,
    body: { status: 'running', stage_number: 1, metadata, position: expect.stringMatching(/\.3$/) },
  });
  expect(await send('PATCH', `${path}/logs`, { message: 'one' }, ann)).toMatchObject({
    status: 200,
    body: { appended: 1, first_seq: 4, last_seq: 4 },
  });
  const logs = Array.from({ length: 1_000 }, (_, index) => ({ message: `${index}`, context: { index } }));
  expect(await send('PATCH', `${path}/logs`, { logs }, ann)).toMatchObject({
    body: { appended: 1_000, first_seq: 5, last_seq: 1_004, position: expect.stringMatching(/\.1004$/) },
  });
  expect(await send('POST', `${path}/metrics`, { metric_name: 'tokens', metric_value: 7.5 }, ann)).toMatchObject({
    status: 201,
    body: {
      recorded: 1,
      metrics: [{ metric_name: 'tokens', metric_value: 7.5 }],
      position: expect.stringMatching(/\.1005$/),
    },
  });
  const metrics = ['a', 'b'].map((metric_name, metric_value) => ({ metric_name, metric_value }));
  expect(await send('POST', `${path}/metrics`, { metrics }, ann)).toMatchObject({ body: { recorded: 2 } });
  expect(await send('PATCH', path, { status: 'completed', metadata: null }, ann)).toMatchObject({
    body: { status: 'completed', metadata: null },
  });

  await until(() => seen.length === 1_007, { what: 'all events' });
  expect(seen.slice(0, 3)).toEqual(['2 stage-changed', '3 execution-started', '4 log']);
  expect(seen.at(-1)).toBe('1008 execution-completed');
  const rows = await rowsOf(id);
  expect(rows.slice(0, 3).map(({ event_type, request_id }) => [event_type, request_id])).toEqual([
    ['execution-planned', 'req-create'],
    ['stage-changed', 'req-2'],
    ['execution-started', 'req-2'],
  ]);
  expect(rows.slice(4, 1_004).map(({ message }) => message)).toEqual(logs.map(({ message }) => message));
  const { rows: audit } = await writer.query(
    'SELECT actor, to_status, request_id FROM execution_audit WHERE execution_id = $1 ORDER BY created_at',
    [id],
  );
  expect(audit.slice(0, 2)).toEqual([
    { actor: 'ann', to_status: 'pending', request_id: 'req-create' },
    { actor: 'ann', to_status: 'running', request_id: 'req-2' },
  ]);
});

test('I5 who may not write is told so, and nothing is written', async () => {
  const id = await createExecution(writer, venture);
  const requests = (execution: string, in_venture: string): [string, string, unknown][] => [
    ['POST', EXECUTIONS, { venture_id: in_venture }],
    ['PATCH', `${EXECUTIONS}/${execution}`, { status: 'completed' }],
    ['PATCH', `${EXECUTIONS}/${execution}/logs`, { message: 'x' }],
    ['POST', `${EXECUTIONS}/${execution}/metrics`, { metric_name: 'x', metric_value: 1 }],
  ];
  for (const [token, status, code] of [
    [vic, 403, 'forbidden'],
    [eve, 403, 'forbidden'],
    [undefined, 401, 'unauthorized'],
  ] as const) {
    for (const [method, path, body] of requests(id, venture)) {
      expect([path, ...refused(await send(method, path, body, token))]).toEqual([path, status, code]);
    }
  }
  for (const token of [ann, eve]) {
    const codes: unknown[] = [];
    for (const [method, path, body] of requests(NOBODY, NOBODY))
      codes.push(refused(await send(method, path, body, token)));
    expect(codes).toEqual([[404, 'unknown_venture'], ...Array(3).fill([404, 'unknown_execution'])]);
  }
  expect(await rowsOf(id)).toHaveLength(1);
});

test('a request of the wrong form names each field that is wrong, and writes nothing of it', async () => {
  const id = await createExecution(writer, venture);
  const path = `${EXECUTIONS}/${id}`;
  const paths = async (method: string, at: string, body: unknown, headers = {}) => {
    const answer = await send(method, at, body, ann, headers);
    expect(refused(answer)).toEqual([400, 'invalid_request']);
    return answer.body.errors.map((fault: { path: string }) => fault.path);
  };
  expect(
    await paths('POST', EXECUTIONS, { venture_id: 7, initial_status: 'completed', plan: { stages: [{}] } }),
  ).toEqual(['body.venture_id', 'body.initial_status', 'body.plan.stages.0.name']);
  expect(await paths('POST', EXECUTIONS, { venture_id: venture }, { 'Idempotency-Key': 'a b' })).toEqual([
    'header.Idempotency-Key',
  ]);
  expect(
    await paths('POST', EXECUTIONS, { venture_id: venture, idempotency_key: 'a' }, { 'Idempotency-Key': 'b' }),
  ).toEqual(['body.idempotency_key']);
  expect(await paths('PATCH', path, { status: 'done', stage_number: -1 })).toEqual([
    'body.status',
    'body.stage_number',
  ]);
  expect(await paths('PATCH', path, {})).toEqual(['body']);
  expect(await paths('PATCH', `${EXECUTIONS}/7`, { status: 'running' })).toEqual(['path.execution_id']);
  const logs = [{ message: 'fine' }, { message: 7 }, { log_level: 'loud' }, { mesage: 'x' }];
  expect(await paths('PATCH', `${path}/logs`, { logs })).toEqual([
    'body.logs.1.message',
    'body.logs.2.log_level',
    'body.logs.3',
  ]);
  expect(await paths('PATCH', `${path}/logs`, { message: 7 })).toEqual(['body.message']);
  expect(await paths('PATCH', `${path}/logs`, { logs: [] })).toEqual(['body.logs']);
  expect(await paths('PATCH', `${path}/logs`, 'null')).toEqual(['body']);
  expect(await paths('PATCH', `${path}/logs`, { logs: Array(1_001).fill({ message: 'x' }) })).toEqual(['body.logs']);
  expect(await paths('POST', `${path}/metrics`, { metrics: [{ metric_name: '', metric_value: '1' }] })).toEqual([
    'body.metrics.0.metric_name',
    'body.metrics.0.metric_value',
  ]);
  // What only the database notices, in the last of many.
  const late = await send('PATCH', `${path}/logs`, { logs: [{ message: 'x' }, { context: { a: '\0' } }] }, ann);
  expect(refused(late)).toEqual([400, 'invalid_request']);
  const deep = await send('PATCH', `${path}/logs`, `{"context":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, ann);
  expect(refused(deep)).toEqual([400, 'invalid_request']);
  expect(refused(await send('PATCH', `${path}/logs`, '{', ann))).toEqual([400, 'invalid_json']);
  expect(refused(await send('PATCH', `${path}/logs`, `"${'x'.repeat(2 ** 20)}"`, ann))).toEqual([
    413,
    'frame_too_large',
  ]);
  expect(await rowsOf(id)).toHaveLength(1);
});

test('a conflict of state says what could follow', async () => {
  const id = await createExecution(writer, venture, 'pending');
  const path = `${EXECUTIONS}/${id}`;
  const early = await send('PATCH', path, { status: 'completed' }, ann);
  expect(refused(early)).toEqual([409, 'state_conflict']);
  expect(early.body.detail).toMatch('Allowed: running, cancelled, failed');
  expect((await send('PATCH', path, { status: 'cancelled' }, ann)).status).toBe(200);
  expect((await send('PATCH', path, { status: 'cancelled' }, ann)).status).toBe(200);
  for (const [method, at, body] of [
    ['PATCH', path, { status: 'running' }],
    ['PATCH', path, { stage_number: 2 }],
    ['PATCH', `${path}/logs`, { message: 'late' }],
    ['POST', `${path}/metrics`, { metric_name: 'late', metric_value: 1 }],
  ] as const) {
    const late = await send(method, at, body, ann);
    expect(refused(late)).toEqual([409, 'state_conflict']);
    expect(late.body.detail).toMatch('is cancelled');
  }
  expect((await rowsOf(id)).map(({ event_type }) => event_type)).toEqual(['execution-cancelled']);
});

test('what would be lost in silence is refused, or tell of another status than the record has; a path has one form', async () => {
  const id = await createExecution(writer, venture);
  const path = `${EXECUTIONS}/${id}`;
  for (const [at, body] of [
    [path, '{"metadata":{"__proto__":{"a":1},"b":1}}'],
    [path, '{"metadata":{"a":{"\\u005f_proto__":1}}}'],
    [`${path}/logs`, '{"context":{"n":1e400}}'],
    [`${path}/logs`, '{"context":[-1e400]}'],
    ...['started', 'paused', 'resumed', 'completed', 'failed', 'cancelled'].map(
      (what) => [`${path}/logs`, `{"event_type":"execution-${what}"}`] as const,
    ),
  ] as const) {
    expect([body, ...refused(await send('PATCH', at, body, ann))]).toEqual([body, 400, 'invalid_request']);
  }
  expect(await rowsOf(id)).toHaveLength(1);
  expect(refused(await send('POST', `${EXECUTIONS}/`, { venture_id: venture }, ann))).toEqual([404, 'not_found']);
});

test('a login with a search_path of its own writes all the same', async () => {
  const url = new URL(database.url);
  url.searchParams.set('options', '-c search_path=pg_temp');
  const elsewhere = await startTestGateway(url.href, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
  const ask2 = (method: string, path: string, body: unknown) =>
    ask(elsewhere, path, ann, { method, body: JSON.stringify(body) });
  try {
    const created = await ask2('POST', EXECUTIONS, { venture_id: venture, plan: { stages: [{ name: 'one' }] } });
    expect(created.status).toBe(201);
    const path = `${EXECUTIONS}/${created.body.execution_id}`;
    const metric = { metric_name: 'a', metric_value: 1 };
    const answers = [
      await ask2('PATCH', path, { status: 'running', stage_number: 1 }),
      await ask2('PATCH', `${path}/logs`, { message: 'x', log_level: 'warning' }),
      await ask2('POST', `${path}/metrics`, metric),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 201]);
  } finally {
    await elsewhere.stop();
  }
});

test('a server that only reads is unavailable, and the next connection is tried', async () => {
  const id = await createExecution(writer, venture);
  const name = new URL(database.url).pathname.slice(1);
  await writer.query(`ALTER DATABASE ${name} SET default_transaction_read_only = on`);
  const standby = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
  const change = () =>
    ask(standby, `${EXECUTIONS}/${id}`, ann, { method: 'PATCH', body: JSON.stringify({ stage_number: 1 }) });
  try {
    const { status, body } = await change();
    expect([status, body.code]).toEqual([503, 'unavailable']);
    const client = new pg.Client({ connectionString: database.url, application_name: TEST_SESSION });
    await client.connect();
    await client.query('SET default_transaction_read_only = off');
    await client.query(`ALTER DATABASE ${name} RESET default_transaction_read_only`);
    await client.end();
    expect((await change()).status).toBe(200);
  } finally {
    await standby.stop();
  }
});
