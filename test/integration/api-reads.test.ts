import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { advance, begin, viewOf } from '../../client/progress/index.js';
import type { Gateway } from '../../server/gateway.js';
import { addLogs, ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { testClient } from '../support/client.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';

interface Row {
  readonly seq: number;
  readonly log_id: string;
}

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Pool;
let ann: string;
let bob: string;
let venture: string;
beforeAll(async () => {
  database = await createDatabase();
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
  ann = await tokenFor('ann');
  bob = await tokenFor('bob');
  venture = await createVenture(writer, 'ann');
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

const EXECUTIONS = '/api/agents/executions';
const NOBODY = '00000000-0000-4000-8000-00000000dead';

const finish = (id: string) =>
  writer.query(`UPDATE agent_executions SET status = 'completed' WHERE execution_id = $1`, [id]);

const record = (id: string, name: string, value: number) =>
  writer.query('INSERT INTO execution_metrics (execution_id, metric_name, metric_value) VALUES ($1, $2, $3)', [
    id,
    name,
    value,
  ]);

test('a snapshot has the record, the last logs, steps, metrics, progress and the position', async () => {
  const id = await createExecution(writer, venture);
  await addLogs(writer, id, 4);
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, message, context) VALUES
       ($1, 'task-assigned', 'read', '{"step_id":"s1","step":"read","agent":"reader","steps":4}'),
       ($1, 'task-completed', 'read', '{"step_id":"s1","step":"read","agent":"reader","success":true,"output":{"lines":3},"duration_ms":12}')`,
    [id],
  );
  await record(id, 'tokens', 7);
  await record(id, 'tokens', 9);
  const { status, headers, body } = await ask(gateway, `${EXECUTIONS}/${id}?logs=3`, ann);
  expect(status).toBe(200);
  expect(headers.get('cache-control')).toBe('private, no-cache');
  expect(body).toMatchObject({
    execution: { execution_id: id, venture_id: venture, status: 'running' },
    channel: `execution:${id}`,
    next: null,
    steps: [{ step_id: 's1', name: 'read', agent: 'reader', success: true, output: { lines: 3 }, duration_ms: 12 }],
    metrics: [{ metric_name: 'tokens', metric_value: 9, count: 2 }],
    progress: { seq: 9, status: 'running', percent: 25, basis: 'steps', steps: { done: 1, total: 4 } },
  });
  expect(body.logs.map(({ seq }: Row) => seq)).toEqual([7, 8, 9]);
  expect(body.position).toMatch(/^[a-z0-9]+\.9$/);

  const steps = await ask(gateway, `${EXECUTIONS}/${id}/steps`, ann);
  expect(steps.body.steps).toEqual(body.steps);
  const none = await ask(gateway, `${EXECUTIONS}/${id}?logs=none`, ann);
  expect(none.body).toMatchObject({ logs: [], next: null, position: body.position });
});

test('I2, I3: a snapshot under heavy inserts and a subscription from its position have every event once', async () => {
  const id = await createExecution(writer, venture);
  let writing = true;
  let written = 1;
  const writers = [1, 2].map(async () => {
    while (writing && written < 990) {
      // one answer holds 1,000
      await addLogs(writer, id, 5);
      written += 5;
    }
  });
  const client = testClient({ url: gateway.url, token: ann });
  const followed = [];
  for (let round = 0; round < 8; round++) {
    const { body } = await ask(gateway, `${EXECUTIONS}/${id}?logs=1000&since=start`, ann);
    const given = body.logs.map(({ seq }: Row) => seq);
    expect(body.position).toBe(`${body.position.split('.')[0]}.${given.at(-1)}`);
    expect(given).toEqual(seqs(1, given.length));
    expect(body.progress.seq).toBe(given.length);
    if (round < 7) continue;
    followed.push({ given, follower: follow(client, `execution:${id}`, body.position) });
  }
  writing = false;
  await Promise.all(writers);
  for (const { given, follower } of followed) {
    await follower.count(written - given.length);
    expect([...given, ...follower.events.map(({ seq }) => seq)]).toEqual(seqs(1, written));
    expect(follower.resets).toEqual([]);
  }
});

test('I2: an execution without a log has a position to subscribe from', async () => {
  const id = await createExecution(writer, venture, 'pending');
  const { body } = await ask(gateway, `${EXECUTIONS}/${id}`, ann);
  expect(body).toMatchObject({ logs: [], progress: { seq: 0, status: 'pending' } });
  expect(body.position).toMatch(/\.0$/);
  await addLogs(writer, id, 3);
  const follower = follow(testClient({ url: gateway.url, token: ann }), `execution:${id}`, body.position);
  await follower.count(3);
  expect(follower.events.map(({ seq }) => seq)).toEqual([1, 2, 3]);
});

test('a log longer than an answer is read on at `next`, and its progress is that of all events', async () => {
  const id = await createExecution(writer, venture);
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, context)
       SELECT $1, CASE WHEN n % 3 = 0 THEN 'task-completed' ELSE 'log' END, jsonb_build_object('steps', 3000, 'step_id', n)
         FROM generate_series(1, 6000) n`,
    [id],
  );
  const others = Array.from({ length: 99 }, (_, n) => `00000000-0000-4000-8000-000000000${100 + n}`);
  const listed = (await ask(gateway, `${EXECUTIONS}?ids=${[id, ...others]}`, ann)).body; // brings few events of each at once
  const rows: (Row & Record<string, unknown>)[] = [];
  let since = 'start';
  let last: Awaited<ReturnType<typeof ask>>['body'];
  do {
    last = (await ask(gateway, `${EXECUTIONS}/${id}?logs=all&since=${since}`, ann)).body;
    rows.push(...last.logs);
    since = last.next;
  } while (since !== null);
  expect(rows.map(({ seq }) => seq)).toEqual(seqs(1, 6001));
  const state = rows.reduce((before, row) => advance(before, { seq: row.seq, row }), begin());
  const view = viewOf(state, Date.now());
  expect(last.progress).toMatchObject({ seq: view.seq, percent: view.percent, steps: view.steps });
  expect(listed.executions).toMatchObject([{ execution_id: id, percent: view.percent, steps: view.steps }]);
  expect(view.steps.done).toBe(2000);
});

test('rows too large for one answer come with the next', async () => {
  const id = await createExecution(writer, venture);
  const big = `INSERT INTO agent_execution_logs (execution_id, context) SELECT $1, jsonb_build_object('text', repeat('x', 375000)) FROM generate_series(1, 4)`;
  await writer.query(big, [id]);
  const first = (await ask(gateway, `${EXECUTIONS}/${id}?logs=all`, ann)).body;
  expect(first.logs.map(({ seq }: Row) => seq)).toEqual([1, 2, 3]);
  const rest = (await ask(gateway, `${EXECUTIONS}/${id}?logs=all&since=${first.next}`, ann)).body;
  expect([rest.logs.map(({ seq }: Row) => seq), rest.next]).toEqual([[4, 5], null]);
  const newest = (await ask(gateway, `${EXECUTIONS}/${id}?logs=5`, ann)).body;
  expect(newest.logs.map(({ seq }: Row) => seq)).toEqual([4, 5]);
});

test('a position that cannot be served is refused, not guessed', async () => {
  const id = await createExecution(writer, venture);
  await addLogs(writer, id, 9);
  const at = (since: string) => ask(gateway, `${EXECUTIONS}/${id}?since=${since}`, ann);
  const { position } = (await at('4')).body;
  await writer.query('DELETE FROM agent_execution_logs WHERE execution_id = $1 AND seq <= 5', [id]);
  const answers = await Promise.all(['zzz.4', '11', '3', '0', position].map(at));
  expect(answers.map(({ body }) => body.code ?? body.logs[0]?.seq ?? 'nothing new')).toEqual([
    'position_gone',
    'position_gone',
    'position_gone',
    6,
    'nothing new',
  ]);
});

test('a status answers 304 until something is written, and is kept for a while once it is finished', async () => {
  const id = await createExecution(writer, venture);
  const asking = async (etag?: string) => {
    const init = etag === undefined ? {} : { headers: { 'If-None-Match': etag } };
    const { status, headers, body } = await ask(gateway, `${EXECUTIONS}/${id}/status`, ann, init);
    return { status, etag: headers.get('etag') ?? '', cache: headers.get('cache-control'), body };
  };
  const first = await asking();
  expect(first.body).toMatchObject({
    execution_id: id,
    status: 'running',
    percent: 0,
    last_seq: 1,
    estimated_end: null,
  });
  expect([first.cache, first.body.position]).toEqual(['private, no-cache', expect.stringMatching(/\.1$/)]);
  expect(await asking(first.etag)).toMatchObject({ status: 304, body: null, etag: first.etag });
  await addLogs(writer, id, 1);
  const second = await asking(first.etag);
  expect(second).toMatchObject({ status: 200, body: { last_seq: 2 } });
  await finish(id);
  expect(await asking(second.etag)).toMatchObject({
    status: 200,
    cache: 'private, max-age=30',
    body: { status: 'completed', percent: 100 },
  });
});

test('the time that is left is told once there is something to tell it by', async () => {
  const id = await createExecution(writer, venture);
  await writer.query(
    `UPDATE agent_execution_logs SET created_at = now() - interval '50 seconds' WHERE execution_id = $1`,
    [id],
  );
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, context, created_at)
       SELECT $1, 'task-completed', '{"steps":10}', now() - (5 - n) * interval '10 seconds' FROM generate_series(1, 5) n`,
    [id],
  );
  const { body } = await ask(gateway, `${EXECUTIONS}/${id}/status`, ann);
  expect(body.percent).toBe(50);
  const left = Date.parse(body.estimated_end) - Date.now();
  expect(left).toBeGreaterThan(30_000);
  expect(left).toBeLessThan(70_000);
});

test('progress outlives a new numbering', async () => {
  const id = await createExecution(writer, venture);
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, context) VALUES ($1, 'task-completed', '{"steps":2}')`,
    [id],
  );
  const before = (await ask(gateway, `${EXECUTIONS}/${id}/status`, ann)).body;
  const { rows } = await writer.query<{ epoch: string }>(`SELECT rowcast.new_epoch('execution') AS epoch`);
  const after = (await ask(gateway, `${EXECUTIONS}/${id}/status`, ann)).body;
  expect([before.percent, after.percent, after.position]).toEqual([50, 50, `${rows[0]?.epoch}.2`]);
});

test('I5: what is kept in memory is shown to no user without the right, also after it was lost', async () => {
  const own = await createVenture(writer, 'ann', 'cleo');
  const id = await createExecution(writer, own);
  const cleo = await tokenFor('cleo');
  const asking = (token: string) =>
    Promise.all(['', '/status', '/steps', '/metrics'].map((part) => ask(gateway, `${EXECUTIONS}/${id}${part}`, token)));
  const statuses = async (token: string) => (await asking(token)).map(({ status }) => status);
  expect(await statuses(cleo)).toEqual([200, 200, 200, 200]);
  expect(await statuses(bob)).toEqual([403, 403, 403, 403]);
  await writer.query(`DELETE FROM venture_members WHERE venture_id = $1 AND user_id = 'cleo'`, [own]);
  expect((await ask(gateway, `${EXECUTIONS}/${id}`, cleo)).status).toBe(403);
  const none = async () => (await statuses(cleo)).every((status) => status === 403);
  await until(none, { deadlineMs: 2_000, what: 'the bell to reach what was decided before' });
  expect(await statuses(ann)).toEqual([200, 200, 200, 200]);
  const many = await ask(gateway, `${EXECUTIONS}?ids=${id}`, cleo);
  expect(many.body).toMatchObject({ executions: [], missing: [id] });
});

test('many executions at once: by their ids, or page by page of a venture', async () => {
  const own = await createVenture(writer, 'ann');
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) ids.push(await createExecution(writer, own));
  await finish(ids[2] ?? '');
  const named = await ask(gateway, `${EXECUTIONS}?ids=${ids[3]},${NOBODY},${ids[0]?.toUpperCase()}`, ann);
  expect(named.body.executions.map((each: { execution_id: string }) => each.execution_id)).toEqual([ids[3], ids[0]]);
  expect(named.body).toMatchObject({ missing: [NOBODY], position: null, pagination: null });

  const listed: string[] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const query = cursor === '' ? '' : `&cursor=${cursor}`;
    const { body } = await ask(gateway, `${EXECUTIONS}?venture_id=${own}&limit=2${query}`, ann);
    listed.push(...body.executions.map((each: { execution_id: string }) => each.execution_id));
    cursor = body.pagination.next_cursor;
    if (listed.length === 2) await createExecution(writer, own); // is newer than what was listed, and moves nothing
  }
  expect(listed).toEqual([...ids].reverse());
  const done = await ask(gateway, `${EXECUTIONS}?venture_id=${own}&status=completed,failed`, ann);
  expect(done.body.executions).toMatchObject([{ execution_id: ids[2], status: 'completed', percent: 100 }]);
});

test('the series of a metric is read page by page, newest first', async () => {
  const id = await createExecution(writer, venture);
  for (let value = 1; value <= 5; value++) await record(id, value % 2 ? 'tokens' : 'cost', value);
  const page = async (query: string) => (await ask(gateway, `${EXECUTIONS}/${id}/metrics?${query}`, ann)).body;
  const values = ({ metrics }: { metrics: { metric_value: number }[] }) => metrics.map((each) => each.metric_value);
  const first = await page('limit=2');
  expect(values(first)).toEqual([5, 4]);
  expect(values(await page(`cursor=${first.pagination.next_cursor}`))).toEqual([3, 2, 1]);
  expect(values(await page('name=tokens'))).toEqual([5, 3, 1]);
});

test('a page of any time that PostgreSQL holds has a cursor that is taken back', async () => {
  const own = await createVenture(writer, 'ann');
  const times = ['0044-03-15 12:00:00.000001 BC', '-infinity', '12026-01-01', '0999-01-01', 'infinity', '2026-01-01'];
  await writer.query(
    `INSERT INTO agent_executions (venture_id, status, created_at) SELECT $1, 'pending', t FROM unnest($2::timestamptz[]) t`,
    [own, times],
  );
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, message, created_at)
       SELECT execution_id, 'x', created_at FROM agent_executions WHERE venture_id = $1`,
    [own],
  );
  const lists = [`${EXECUTIONS}?venture_id=${own}&limit=1`, `/api/agents/execution-logs/${own}?limit=1`];
  for (const path of lists) {
    let found = 0;
    let cursor: string | null = '';
    while (cursor !== null) {
      const { status, body } = await ask(gateway, `${path}${cursor && `&cursor=${cursor}`}`, ann);
      expect([path, status]).toEqual([path, 200]);
      found += (body.executions ?? body.logs).length;
      cursor = body.pagination.next_cursor;
    }
    expect([path, found]).toEqual([path, times.length]);
  }
});

test('I5: what was folded of rows is forgotten when they are deleted, also for others that take their id', async () => {
  const ours = await createVenture(writer, 'ann');
  const id = await createExecution(writer, await createVenture(writer, 'bob'));
  const step = (name: string) =>
    writer.query(
      `INSERT INTO agent_execution_logs (execution_id, event_type, context) VALUES ($1, 'task-completed', $2)`,
      [id, JSON.stringify({ step_id: name, step: name, success: true, output: name })],
    );
  await step('old');
  await step('secret');
  await step('kept');
  const asking = async (token: string, etag = '') => {
    const init = { headers: { 'If-None-Match': etag } };
    const { status, headers, body } = await ask(gateway, `${EXECUTIONS}/${id}/steps`, token, init);
    const names = body?.steps.map(({ name }: { name: string }) => name);
    return { status, names, etag: headers.get('etag') ?? '' };
  };
  const before = await asking(bob);
  expect(before.names).toEqual(['old', 'secret', 'kept']);
  await writer.query('DELETE FROM agent_execution_logs WHERE execution_id = $1 AND seq = 3', [id]);
  const pruned = await asking(bob, before.etag);
  expect(pruned).toMatchObject({ status: 200, names: ['kept'] });
  await writer.query('DELETE FROM agent_execution_logs WHERE execution_id = $1', [id]);
  expect(await asking(bob, pruned.etag)).toMatchObject({ status: 200, names: [] });
  await step('last');
  expect((await asking(bob)).names).toEqual(['last']);
  await writer.query('DELETE FROM agent_executions WHERE execution_id = $1', [id]);
  await writer.query(`INSERT INTO agent_executions (execution_id, venture_id, status) VALUES ($1, $2, 'pending')`, [
    id,
    ours,
  ]);
  const taken = async () => (await asking(ann)).status === 200;
  await until(taken, { deadlineMs: 2_000, what: 'the decision to be made anew' });
  expect((await asking(ann)).names).toEqual([]);
  await step('mine');
  expect((await asking(ann)).names).toEqual(['mine']);
});
