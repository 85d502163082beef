import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { addLogs, ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';

interface Row {
  readonly log_id: string;
  readonly message: string;
  readonly created_at: string;
}

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Pool;
let ann: string;
beforeAll(async () => {
  database = await createDatabase();
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
  ann = await tokenFor('ann');
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

const LOGS = '/api/agents/execution-logs';

/** All pages, one after the other; `between` is called after each. */
async function walk(venture: string, query: string, between = async () => {}): Promise<Row[][]> {
  const pages: Row[][] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const path = `${LOGS}/${venture}?${query}${cursor === '' ? '' : `&cursor=${cursor}`}`;
    const { status, body } = await ask(gateway, path, ann);
    if (status !== 200) throw new Error(`${path} answered ${status}: ${JSON.stringify(body)}`);
    pages.push(body.logs);
    cursor = body.pagination.next_cursor;
    expect(body.pagination.has_more).toBe(cursor !== null);
    await between();
  }
  return pages;
}

const messages = (rows: readonly Row[]) => rows.map(({ message }) => message);

/** A venture whose rows are these: messages, and of which execution each is. */
async function ventureOf(rows: readonly (readonly [message: string, execution: number, level?: string])[]) {
  const venture = await createVenture(writer, 'ann');
  const executions: string[] = [];
  for (const [message, execution, level = 'info'] of rows) {
    executions[execution] ??= await createExecution(writer, venture, 'pending');
    await writer.query(
      'INSERT INTO agent_execution_logs (execution_id, message, log_level) VALUES ($1, $2, $3::rowcast.log_level)',
      [executions[execution], message, level],
    );
  }
  return { venture, executions };
}

test('page by page each row comes once, newest first, while others are written', async () => {
  const venture = await createVenture(writer, 'ann');
  const executions: string[] = [];
  for (let n = 0; n < 12; n++) executions.push(await createExecution(writer, venture, 'pending'));
  // Some write at the same time, some have long been silent, some rows are of the same moment.
  for (let round = 0; round < 6; round++) {
    for (const execution of executions.slice(0, 2 * (round + 1))) await addLogs(writer, execution, 7, 10 * round);
  }
  await writer.query(
    `UPDATE agent_execution_logs SET created_at = date_trunc('second', created_at) WHERE execution_id = ANY ($1) AND seq % 3 = 0`,
    [executions.slice(0, 5)],
  );
  const { rows } = await writer.query<Row>(
    `SELECT l.log_id FROM agent_execution_logs l JOIN agent_executions USING (execution_id) WHERE venture_id = $1
      ORDER BY l.created_at DESC, l.log_id DESC`,
    [venture],
  );
  const there = rows.map(({ log_id }) => log_id);
  expect(there.length).toBe(7 * 42);
  for (const limit of [7, 50, 1000]) {
    const pages = await walk(venture, `limit=${limit}`, () => addLogs(writer, executions[limit % 12] ?? '', 3, 900));
    const seen = pages.flat().map(({ log_id }) => log_id);
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((id) => there.includes(id))).toEqual(there);
    expect(pages.slice(0, -1).every((page) => page.length === limit)).toBe(true);
  }
});

test('an offset counts all that matches', async () => {
  const { venture } = await ventureOf(Array.from({ length: 30 }, (_, n) => [`line ${n}`, n % 6] as const));
  const page = async (query: string) => (await ask(gateway, `${LOGS}/${venture}?${query}`, ann)).body;
  const second = await page('limit=10&offset=10');
  expect(messages(second.logs)).toEqual(Array.from({ length: 10 }, (_, n) => `line ${19 - n}`));
  expect(second.pagination).toMatchObject({ limit: 10, offset: 10, total: 30, has_more: true });
  const last = await page('limit=10&offset=25');
  expect([messages(last.logs).length, last.pagination.has_more, last.pagination.next_cursor]).toEqual([5, false, null]);
  expect((await page('offset=40')).logs).toEqual([]);
  expect((await page('limit=10')).pagination).toMatchObject({ offset: null, total: null });
});

test('filters: level, text, status of the execution, time', async () => {
  const { venture, executions } = await ventureOf([
    ['50% done', 0],
    ['a warning', 0, 'warning'],
    ['50 of 100', 1],
    ['C:\\temp is full', 1, 'error'],
    ['snake_case', 2],
    ['SNAKE case', 2],
  ]);
  await writer.query(`UPDATE agent_executions SET status = 'failed' WHERE execution_id = $1`, [executions[1]]);
  const found = async (query: string) => messages((await walk(venture, query)).flat());
  expect(await found('level=warning,error')).toEqual(['execution is failed', 'C:\\temp is full', 'a warning']);
  expect(await found('q=50%25')).toEqual(['50% done']);
  expect(await found(`q=${encodeURIComponent('c:\\TEMP')}`)).toEqual(['C:\\temp is full']);
  expect(await found('q=snake_')).toEqual(['snake_case']);
  expect(await found('q=snake')).toEqual(['SNAKE case', 'snake_case']);
  expect(await found('status_filter=failed&level=info')).toEqual(['50 of 100']);
  expect(await found('status_filter=running')).toEqual([]);

  await writer.query(`UPDATE agent_execution_logs SET created_at = '2026-01-31T12:00:00Z' WHERE message = '50 of 100'`);
  await writer.query(`UPDATE agent_execution_logs SET created_at = '2026-02-01T00:00:00Z' WHERE message = 'a warning'`);
  expect(await found('date_range=2026-01-01..2026-02-01')).toEqual(['50 of 100']);
  expect(await found('date_range=..2026-02-01T00:00:00.001Z')).toEqual(['a warning', '50 of 100']);
  expect(await found('date_range=2026-02-01T01:00:00%2B01:00..2026-02-02')).toEqual(['a warning']);
  const instant = 'date_range=2026-02-01T00:00:00.000000Z..2026-02-01T00:00:00.000001Z';
  expect(await found(instant)).toEqual(['a warning']);
  for (const edge of ['0001-01-01T00:00:00%2B15:59', '..9999-12-31T23:59:59-15:59']) {
    expect((await found(`date_range=${edge}${edge.includes('..') ? '' : '..'}`)).length).toBe(7);
  }
  expect((await found('date_range=24h')).length).toBe(5);
});

test('rows too large for one page come with the next', async () => {
  const { venture, executions } = await ventureOf([['first', 0]]);
  const big = `INSERT INTO agent_execution_logs (execution_id, message, context)
    SELECT $1, 'big ' || n, jsonb_build_object('text', repeat('x', 375000)) FROM generate_series(1, 4) n`;
  await writer.query(big, [executions[0]]);
  const pages = await walk(venture, 'limit=50');
  expect(pages.map(messages)).toEqual([
    ['big 4', 'big 3'],
    ['big 2', 'big 1', 'first'],
  ]);
});

test('searches that read a whole history leave room for what is quick, and too many are sent away', async () => {
  const members = Array.from({ length: 12 }, (_, n) => `member-${n}`);
  const tokens = await Promise.all(members.map((member) => tokenFor(member)));
  const venture = await createVenture(writer, 'ann', ...members);
  for (let n = 0; n < 2; n++) await addLogs(writer, await createExecution(writer, venture), 10_000);
  let searching = 60;
  const outcomes = await Promise.all([
    ...Array.from({ length: searching }, async (_, n) => {
      const { status, headers, body } = await ask(gateway, `${LOGS}/${venture}?q=nothing-${n}`, tokens[n % 12]);
      searching -= 1;
      return status === 200 ? 'found' : `${body.code}, ${headers.get('retry-after')} s`;
    }),
    (async () => {
      for (let n = 0; n < 5; n++) await ask(gateway, `${LOGS}/${venture}?limit=5`, ann);
      return searching > 10 ? 'quick' : 'slow';
    })(),
  ]);
  const count = (outcome: string) => outcomes.filter((each) => each === outcome).length;
  expect([count('found') + count('rate_limited, 2 s'), count('quick')]).toEqual([60, 1]);
  expect(count('found')).toBeGreaterThanOrEqual(50);
  expect(count('rate_limited, 2 s')).toBeGreaterThan(0);
});

test('one user cannot take all the places of those who wait to search', async () => {
  const own = await createVenture(writer, 'ann');
  await createExecution(writer, own, 'running');
  const blocker = await writer.connect();
  try {
    await blocker.query('BEGIN');
    await blocker.query('LOCK agent_execution_logs IN ACCESS EXCLUSIVE MODE');
    const flood = Array.from({ length: 60 }, () => ask(gateway, `${LOGS}/${own}?q=x`, ann));
    const [refused] = await Promise.all([Promise.race(flood), delivered(flood, 55)]);
    expect([refused?.status, refused?.body.code]).toEqual([429, 'rate_limited']);
    const bob = ask(gateway, `${LOGS}/${own}?q=x`, await tokenFor('bob'));
    await blocker.query('COMMIT');
    expect((await bob).status).toBe(403);
    const statuses = (await Promise.all(flood)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 429).length).toBe(55);
  } finally {
    await blocker.query('ROLLBACK');
    blocker.release();
  }
});

/** Resolves when so many have. */
async function delivered(answers: readonly Promise<unknown>[], count: number): Promise<void> {
  let done = 0;
  for (const answer of answers) void answer.then(() => (done += 1));
  await until(() => done >= count, { what: `${count} answers` });
}

describe('the search in one execution', () => {
  const search = async (id: string, query: string, token = ann) =>
    (await ask(gateway, `/api/agents/executions/${id}/logs?${query}`, token)).body;
  const seqsOf = ({ logs }: { logs: readonly { readonly seq: number }[] }) => logs.map(({ seq }) => seq);

  let id: string;
  beforeAll(async () => {
    id = await createExecution(writer, await createVenture(writer, 'ann'), 'pending');
    await writer.query(
      `INSERT INTO agent_execution_logs (execution_id, message, log_level, event_type, context)
       SELECT $1, 'line ' || n || CASE WHEN n % 10 = 0 THEN ' 100%_Sure' ELSE '' END,
              CASE WHEN n % 20 = 0 THEN 'error' ELSE 'info' END::rowcast.log_level,
              CASE WHEN n % 3 = 0 THEN 'task-completed' ELSE 'log' END,
              jsonb_build_object('agent', CASE WHEN n % 2 = 0 THEN 'ada' ELSE 'bob' END)
         FROM generate_series(1, 100) n`,
      [id],
    );
  });

  test('finds text, levels, types and agents, newest first, with the total of all', async () => {
    expect(await search(id, 'q=100%25_sure&limit=3')).toMatchObject({
      total: 10,
      searched: { from: 1, to: 100 },
      complete: true,
      next: 80,
      position: expect.stringMatching(/\.100$/),
    });
    expect(seqsOf(await search(id, 'q=100%25_sure&limit=3'))).toEqual([100, 90, 80]);
    expect(seqsOf(await search(id, 'q=100%25_sure&limit=3&before=80'))).toEqual([70, 60, 50]);
    expect(await search(id, 'level=error')).toMatchObject({ total: 5, next: null });
    expect(await search(id, 'level=error,warning&event_type=task-completed&agent=ada')).toMatchObject({ total: 1 });
    expect(seqsOf(await search(id, 'agent=bob&after=90&before=96'))).toEqual([95, 93, 91]);
    expect(await search(id, 'q=nothing')).toMatchObject({ logs: [], total: 0, complete: true, next: null });
    expect(await search(id, 'after=100')).toMatchObject({ logs: [], total: 0, searched: { from: 101, to: 100 } });
    expect(await search(id, 'before=1')).toMatchObject({ logs: [], searched: { from: 1, to: 0 }, complete: true });
  });

  test('says which rows were searched when there are more than one statement looks at', async () => {
    const long = await createExecution(writer, await createVenture(writer, 'ann'), 'pending');
    await writer.query(
      `INSERT INTO agent_execution_logs (execution_id, message) SELECT $1, 'line ' || n FROM generate_series(1, 20500) n`,
      [long],
    );
    const first = await search(long, 'q=line%20500&limit=1000');
    expect(first).toMatchObject({ searched: { from: 501, to: 20_500 }, complete: false, next: 501, total: 10 });
    const rest = await search(long, `q=line%20500&before=${first.next}`);
    expect(rest).toMatchObject({ searched: { from: 1, to: 500 }, complete: true, next: null, total: 1 });
    expect(seqsOf(rest)).toEqual([500]);
  });

  test('is refused to those who may not read the execution', async () => {
    const eve = await tokenFor('eve');
    expect(await search(id, 'q=line', eve)).toMatchObject({ code: 'forbidden' });
    const nobody = '00000000-0000-4000-8000-00000000dead';
    expect(await search(nobody, 'q=line')).toMatchObject({ code: 'unknown_execution' });
    expect(await search(id, 'before=x')).toMatchObject({ code: 'invalid_request' });
  });
});
