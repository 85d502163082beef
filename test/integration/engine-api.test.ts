import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { LocalGateway } from '../../server/gateway.js';
import { ask, JWT_SECRET, tokenFor } from '../support/api.js';
import {
  brokenLaws,
  type Claimed,
  claimed,
  complete,
  type EngineDatabase,
  engineDatabase,
  events,
  statuses,
} from '../support/engine.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { newVenture } from '../support/writer.js';

const ENGINE = '/api/executions';
const TASKS = '/api/agents/tasks';
const NOWHERE = '00000000-0000-4000-8000-00000000dead';

let database: EngineDatabase;
let client: EngineDatabase['client'];
let gateway: LocalGateway;
let venture: string;
/** By name: those of the matrix, and a worker. */
const tokens = new Map<string, string>();

beforeAll(async () => {
  database = await engineDatabase();
  ({ client, venture } = database);
  await client.query(`INSERT INTO agent_types (agent_type, backoff_base_ms) VALUES ('a', 0), ('b', 0)`);
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
  const other = await newVenture(client);
  await client.query(
    `INSERT INTO venture_members VALUES ($1, 'viewer', 'viewer'), ($1, 'editor', 'editor'), ($2, 'neighbour', 'editor')`,
    [venture, other],
  );
  for (const name of ['viewer', 'editor', 'neighbour', 'stranger']) tokens.set(name, await tokenFor(name));
  tokens.set('service', await tokenFor('service', { role: 'service_role' }));
  tokens.set('worker', await tokenFor('worker', { role: 'agent_worker', agent_types: ['a', 'b'] }));
  tokens.set('other worker', await tokenFor('worker', { role: 'agent_worker', agent_types: ['c'] }));
});
afterAll(async () => {
  expect(await brokenLaws(client)).toEqual([]);
  await gateway.stop();
  await database.drop();
});

const get = (path: string, name = 'editor') => ask(gateway, path, tokens.get(name));
const post = (path: string, body: unknown = {}, name = 'editor', headers: Record<string, string> = {}) =>
  ask(gateway, path, tokens.get(name), { method: 'POST', headers, body: JSON.stringify(body) });
const report = (task: Claimed, verb: string, body: unknown = {}, name = 'worker') =>
  post(`${TASKS}/${task.task_id}/${verb}`, body, name, { Lease: task.lease });

async function claim(...types: string[]): Promise<Claimed> {
  const { body } = await post(`${TASKS}/claim`, { worker: 'python-1', agent_types: types }, 'worker');
  return body.task;
}

const PLAN = [
  { name: 'find', agent_type: 'a' },
  { name: 'approve', kind: 'human', needs: ['find'] },
  { name: 'send', agent_type: 'b', needs: ['approve'] },
];

async function start(body: object = { tasks: PLAN }): Promise<string> {
  const answer = await post(`${ENGINE}/start`, { workspaceId: venture, strategyId: 'test', ...body });
  expect(answer.status).toBe(201);
  return answer.body.execution_id;
}

test('an execution from its start to its end, by requests alone', async () => {
  const id = await start();
  const task = await claim('a');
  expect(task).toMatchObject({ name: 'find', attempt: 1 });
  expect(await report(task, 'heartbeat', { percent: 50, message: 'half' })).toMatchObject({
    status: 200,
    body: { answer: 'continue' },
  });
  expect(await report(task, 'complete', { output: { pages: 3 } })).toMatchObject({ status: 200, body: { done: true } });
  const { body } = await get(`${ENGINE}/${id}/tasks`);
  const human = body.tasks.find(({ name }: { name: string }) => name === 'approve');
  expect(human).toMatchObject({ status: 'ready', needs: ['find'] });
  await post(`${ENGINE}/${id}/tasks/${human.task_id}/complete`, { output: { yes: true } });
  const last = await claim('b');
  expect(last.results).toEqual({ approve: { yes: true } });
  await report(last, 'complete');
  const status = await get(`${ENGINE}/${id}/status`, 'viewer');
  expect(status.body).toMatchObject({
    status: 'completed',
    venture_id: venture,
    strategy_id: 'test',
    tasks: { total: 3, completed: 3, open: 0 },
  });
  expect(status.body.position).toMatch(/\.12$/);
  // The same execution, as the other API shows it.
  expect((await get(`/api/agents/executions/${id}`)).body).toMatchObject({
    execution: { status: 'completed' },
    position: status.body.position,
  });
});

test('a claim waits, and is answered when a task becomes ready', async () => {
  const began = performance.now();
  const claiming = claim('a');
  const id = await start({ tasks: [{ name: 'x', agent_type: 'a' }] });
  const task = await claiming;
  expect(task.execution_id).toBe(id);
  expect(performance.now() - began).toBeLessThan(10_000);
  await report(task, 'complete');
  const none = await post(`${TASKS}/claim`, { worker: 'w', agent_types: ['a'], wait: 0 }, 'worker');
  expect(none).toMatchObject({ status: 200, body: { task: null } });
});

test('pause, resume, cancel, retry, skip, fork and signals', async () => {
  const id = await start({ tasks: PLAN, options: { on_failure: 'hold' } });
  expect((await post(`${ENGINE}/${id}/pause`, { mode: 'stop' })).body).toMatchObject({
    status: 'paused',
    pause_reason: 'requested',
  });
  expect((await post(`${ENGINE}/${id}/resume`)).body).toMatchObject({ status: 'running' });
  const task = await claim('a');
  expect((await report(task, 'fail', { class: 'permanent', message: 'no' })).status).toBe(200);
  expect((await get(`${ENGINE}/${id}/status`)).body).toMatchObject({ status: 'paused', pause_reason: 'failed_tasks' });
  await post(`${ENGINE}/${id}/tasks/${task.task_id}/retry`);
  await post(`${ENGINE}/${id}/resume`);
  expect(await claim('a')).toMatchObject({ task_id: task.task_id, attempt: 2 });
  expect((await post(`${ENGINE}/${id}/signals/go`, { payload: 1 })).body).toEqual({ first: true });
  expect((await post(`${ENGINE}/${id}/signals/go`, { payload: 2 })).body).toEqual({ first: false });
  expect((await post(`${ENGINE}/${id}/tasks`, { tasks: [{ name: 'more', agent_type: 'a' }] })).body).toEqual({
    added: 1,
  });
  expect((await post(`${ENGINE}/${id}/cancel`, { reason: 'enough' })).body).toMatchObject({ status: 'cancelled' });
  const fork = await post(`${ENGINE}/${id}/fork`);
  expect(fork).toMatchObject({ status: 201, body: { status: 'running', tasks: 4 } });
  await post(`${ENGINE}/${fork.body.execution_id}/cancel`);
});

test('a request without a body is one with {}, where no field is required', async () => {
  const id = await start();
  const bare = (path: string) => ask(gateway, `${ENGINE}/${path}`, tokens.get('editor'), { method: 'POST' });
  for (const verb of ['pause', 'resume', 'cancel']) expect((await bare(`${id}/${verb}`)).status).toBe(200);
  expect(await bare('start')).toMatchObject({ status: 400, body: { detail: 'the body is empty' } });
});

test('items, the rules that matched, and dead letters', async () => {
  const id = await start({ items: [{ id: 'i', text: 'write and send', agents: undefined }] });
  const { body } = await get(`${ENGINE}/${id}/propagation`, 'viewer');
  expect(body.propagations[0]).toMatchObject({
    item_ref: 'i',
    rules: [{ word: 'send', lost: null }, { word: 'write' }],
  });
  await post(`${ENGINE}/${id}/cancel`);
  const failed = await start({ tasks: [{ name: 'dead', agent_type: 'a' }] });
  await report(await claim('a'), 'fail', { message: 'gone' });
  const letters = await get(`/api/agents/dead-letters?venture_id=${venture}`, 'viewer');
  expect(letters.body.dead_letters).toMatchObject([
    { execution_id: failed, name: 'dead', error: { class: 'permanent', message: 'gone' } },
  ]);
  expect((await get('/api/agents/workers')).body.workers).toMatchObject(
    expect.arrayContaining([expect.objectContaining({ worker_id: 'python-1', alive: true })]),
  );
  expect((await get('/api/agents/types')).body.types).toMatchObject(
    expect.arrayContaining([expect.objectContaining({ agent_type: 'a' })]),
  );
});

test('E24: health says what is in the way, and when it will end by the critical path', async () => {
  const id = await start({
    tasks: [
      { name: 'one', agent_type: 'a' },
      { name: 'two', agent_type: 'a', needs: ['one'] },
      { name: 'three', agent_type: 'nowhere', needs: ['two'] },
      { name: 'decide', kind: 'human' },
    ],
    options: { budget: 1 },
  });
  const fresh = (await get(`${ENGINE}/${id}/health`, 'viewer')).body;
  expect(fresh).toMatchObject({
    score: 100,
    reasons: [],
    critical_path: ['one', 'two', 'three'],
    predicted_end: null,
    issues: [
      { code: 'agent_missing', message: 'no worker for nowhere is alive; tasks that need one: 1' },
      { code: 'decision', message: 'a person has to decide: decide' },
    ],
  });
  await report(await claim('a'), 'complete', { usage: { cost: 0.9 } });
  const { issues, predicted_end: end, critical_path: path, agents } = (await get(`${ENGINE}/${id}/health`)).body;
  expect(path).toEqual(['two', 'three']);
  expect(Date.parse(end.low)).toBeLessThanOrEqual(Date.parse(end.expected));
  expect(Date.parse(end.expected)).toBeLessThanOrEqual(Date.parse(end.high));
  expect(issues.map(({ code }: { code: string }) => code)).toEqual(['agent_missing', 'decision', 'budget']);
  expect(agents).toMatchObject([
    { agent_type: 'a', open: 1 },
    { agent_type: 'nowhere', workers: 0 },
  ]);
  await report(await claim('a'), 'fail', { message: 'no' });
  const last = (await get(`${ENGINE}/${id}/health`)).body;
  expect(last.issues.map(({ message }: { message: string }) => message)).toContain('failed tasks (1): two');
  await post(`${ENGINE}/${id}/cancel`);
  expect((await get(`${ENGINE}/${id}/health`)).body).toMatchObject({
    issues: [],
    critical_path: [],
    predicted_end: null,
  });
});

test('an execution that the engine does not run has no tasks', async () => {
  const { rows } = await client.query(
    'INSERT INTO agent_executions (venture_id) VALUES ($1) RETURNING execution_id AS id',
    [venture],
  );
  const path = `${ENGINE}/${rows[0].id}`;
  expect((await get(`${path}/tasks`, 'viewer')).body).toMatchObject({ execution: null, tasks: [], next: null });
  expect((await get(`${path}/tasks`, 'stranger')).status).toBe(403);
  expect((await get(`${path}/health`, 'stranger')).status).toBe(403);
});

test('refusals are those of the table of errors', async () => {
  const ring = [
    { name: 'one', agent_type: 'a', needs: ['two'] },
    { name: 'two', agent_type: 'a', needs: ['one'] },
  ];
  const refused = async (answer: ReturnType<typeof post>) => {
    const { status, body } = await answer;
    return [status, body.code];
  };
  const cyclic = await post(`${ENGINE}/start`, { venture_id: venture, tasks: ring });
  expect(cyclic).toMatchObject({ status: 422, body: { code: 'plan_invalid', detail: 'a cycle: one → two → one' } });
  expect(await refused(post(`${ENGINE}/start`, { tasks: ring }))).toEqual([400, 'invalid_request']);
  expect(await refused(post(`${ENGINE}/start`, { venture_id: NOWHERE, tasks: PLAN }))).toEqual([
    404,
    'unknown_venture',
  ]);
  expect(await refused(post(`${ENGINE}/start`, { venture_id: NOWHERE, tasks: PLAN }, 'service'))).toEqual([
    404,
    'unknown_venture',
  ]);
  expect(await refused(post(`${ENGINE}/${NOWHERE}/pause`))).toEqual([404, 'unknown_execution']);
  expect(await refused(get(`${ENGINE}/${NOWHERE}/status`))).toEqual([404, 'unknown_execution']);
  const id = await start({ tasks: [{ name: 'x', agent_type: 'a' }] });
  expect(await refused(post(`${ENGINE}/${id}/tasks/${NOWHERE}/retry`))).toEqual([404, 'unknown_task']);
  expect(await refused(post(`${ENGINE}/${id}/fork`))).toEqual([409, 'state_conflict']);
  // An old door: the engine ends its executions itself.
  const patch = ask(gateway, `/api/agents/executions/${id}`, tokens.get('editor'), {
    method: 'PATCH',
    body: '{"status":"completed"}',
  });
  expect(await refused(patch)).toEqual([409, 'state_conflict']);
  const task = await claim('a');
  await post(`${ENGINE}/${id}/cancel`);
  expect(await refused(report(task, 'complete'))).toEqual([409, 'lease_lost']);
  expect((await report(task, 'heartbeat')).body).toEqual({ answer: 'cancelled' });
});

test('E16: the same start key starts once', async () => {
  const request = { venture_id: venture, tasks: [{ name: 'x', agent_type: 'c' }] };
  const both = await Promise.all(
    [1, 2].map(() => post(`${ENGINE}/start`, request, 'editor', { 'Idempotency-Key': 'once' })),
  );
  expect(both[0]?.body).toEqual(both[1]?.body);
  const id = both[0]?.body.execution_id;
  expect(await statuses(client, id)).toEqual({ x: 'ready' });
  expect((await events(client, id)).filter((line) => line === 'execution-started')).toHaveLength(1);
});

test('E23: who may use which route', async () => {
  const id = await start({ tasks: [{ name: 'x', agent_type: 'c' }] });
  const { body } = await get(`${ENGINE}/${id}/tasks`);
  const task = body.tasks[0].task_id;
  const NAMES = ['nobody', 'stranger', 'viewer', 'editor', 'neighbour', 'worker', 'service'];
  const routes: Record<string, (name: string) => ReturnType<typeof post>> = {
    status: (name) => get(`${ENGINE}/${id}/status`, name),
    tasks: (name) => get(`${ENGINE}/${id}/tasks`, name),
    task: (name) => get(`${ENGINE}/${id}/tasks/${task}`, name),
    health: (name) => get(`${ENGINE}/${id}/health`, name),
    propagation: (name) => get(`${ENGINE}/${id}/propagation`, name),
    types: (name) => get('/api/agents/types', name),
    start: (name) => post(`${ENGINE}/start`, { venture_id: venture, tasks: [{ name: 'x', agent_type: 'z' }] }, name),
    pause: (name) => post(`${ENGINE}/${id}/pause`, {}, name),
    resume: (name) => post(`${ENGINE}/${id}/resume`, {}, name),
    signal: (name) => post(`${ENGINE}/${id}/signals/go`, {}, name),
    add: (name) => post(`${ENGINE}/${id}/tasks`, { tasks: [{ name: `by ${name}`, agent_type: 'z' }] }, name),
    retry: (name) => post(`${ENGINE}/${id}/tasks/${task}/retry`, {}, name),
    fork: (name) => post(`${ENGINE}/${id}/fork`, {}, name),
    claim: (name) => post(`${TASKS}/claim`, { worker: 'w', agent_types: ['unused'], wait: 0 }, name),
  };
  const found: Record<string, Record<string, number>> = {};
  for (const [route, send] of Object.entries(routes)) {
    found[route] = {};
    for (const name of NAMES) found[route][name] = (await send(name)).status;
  }
  const read = { nobody: 401, stranger: 403, viewer: 200, editor: 200, neighbour: 403, worker: 403, service: 200 };
  const write = { ...read, viewer: 403 };
  const conflict = { ...write, editor: 409, service: 409 };
  const created = { ...write, editor: 201, service: 201 };
  expect(found).toEqual({
    status: read,
    tasks: read,
    task: read,
    health: read,
    propagation: read,
    types: { ...read, stranger: 200, neighbour: 200 },
    start: created,
    pause: write,
    resume: write,
    signal: write,
    add: created,
    retry: conflict,
    fork: conflict,
    claim: { nobody: 401, stranger: 403, viewer: 403, editor: 403, neighbour: 403, worker: 200, service: 200 },
  });
  expect(
    (await post(`${TASKS}/claim`, { worker: 'w', agent_types: ['a'], wait: 0 }, 'other worker')).body.task,
  ).toBeNull();
});

test('a page of tasks is bounded in bytes; without values it is small, and one task has them', async () => {
  const id = await start({ tasks: Array.from({ length: 8 }, (_, n) => ({ name: `t${n}`, agent_type: 'large' })) });
  for (let n = 0; n < 8; n += 1)
    await complete(client, await claimed(client, 'large'), { text: `${n}`.repeat(200_000) });
  const path = `${ENGINE}/${id}/tasks`;
  const pages = [];
  for (let next: number | null = 0; next !== null; ) {
    const { body } = await get(`${path}?after=${next}`);
    pages.push(body.tasks.length);
    next = body.next;
  }
  expect(pages).toEqual([5, 3]);
  const { tasks, next } = (await get(`${path}?values=0`)).body;
  expect([tasks.length, next]).toEqual([8, null]);
  expect(tasks[3]).toMatchObject({ name: 't3', input: null, output: null });
  expect((await get(`${path}/${tasks[3].task_id}`)).body).toMatchObject({
    name: 't3',
    output: { text: '3'.repeat(200_000) },
  });
  expect(await get(`${path}/${NOWHERE}`)).toMatchObject({ status: 404, body: { code: 'unknown_task' } });
});

test('all routes are in the OpenAPI document', async () => {
  const { body } = await get('/api/openapi.json');
  const paths = Object.keys(body.paths).filter((path) =>
    /\/executions\/(?!\{)|\/api\/executions|agents\/(tasks|workers|types|dead)/.test(path),
  );
  expect(paths.length).toBeGreaterThanOrEqual(20);
});
