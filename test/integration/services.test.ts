import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { following, mayFollow, STATUSES } from '../../client/progress/index.js';
import {
  AgentExecutionService,
  connectDatabase,
  type Database,
  Executions,
  ProgressTracker,
  type Refusal,
} from '../../server/index.js';
import { principalDatabase } from '../../server/postgres/principal-database.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
let pool: pg.Pool;
let venture: string;
let login: Database;
const as = (subject: string) =>
  principalDatabase(
    pool,
    { subject, role: 'authenticated', claims: JSON.stringify({ sub: subject }), expiresAt: null },
    'request-1',
  );

beforeAll(async () => {
  database = await createDatabase();
  pool = new pg.Pool({
    connectionString: database.url,
    application_name: TEST_SESSION,
    max: 20,
    options: '-c deadlock_timeout=50ms',
  });
  login = connectDatabase(pool);
  const { rows } = await pool.query<{ id: string }>(
    `WITH v AS (INSERT INTO ventures (name) VALUES ('test') RETURNING venture_id AS id),
       m AS (INSERT INTO venture_members SELECT id, u, CASE u WHEN 'ann' THEN 'editor' ELSE 'viewer' END
         FROM v, unnest(ARRAY['ann', 'vic']) u)
     SELECT id FROM v`,
  );
  venture = rows[0]?.id ?? '';
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const create = async (status: 'pending' | 'running' = 'running') =>
  (await new Executions(login).create({ venture_id: venture, initial_status: status })).value.execution_id;

const events = async (id: string) => {
  const { rows } = await pool.query(
    'SELECT event_type AS type, message, context, log_level AS level, stage_number AS stage, request_id FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq',
    [id],
  );
  return rows;
};
const types = async (id: string) => (await events(id)).map(({ type }) => type);
const codeOf = (outcome: PromiseSettledResult<unknown>) =>
  outcome.status === 'fulfilled' ? 'ok' : (outcome.reason as Refusal).code;

describe.each([
  ['an editor, through row-level security', () => as('ann')],
  ["the pool's login", () => login],
])('as %s', (_who, principal) => {
  test('an execution is created, run, measured, finished and read again', async () => {
    const service = new AgentExecutionService(principal());
    const plan = { stages: [{ name: 'plan', steps: 1 }, { name: 'fix' }] };
    const created = await service.initializeExecution({ venture_id: venture, metadata: { agent: 'test' }, plan });
    expect(created).toMatchObject({
      venture_id: venture,
      status: 'pending',
      stage_number: null,
      metadata: { agent: 'test' },
    });
    expect(created.position).toMatch(/^[a-z0-9]+\.1$/);
    const id = created.execution_id;

    const result = await service.trackProgress(id, async ({ tracker, step }) => {
      await tracker.enterStage(1);
      await step('read', ({ progress }) => progress(50, 'half'), { agent: 'reader' });
      await tracker.enterStage(2);
      await tracker.addLogs([{ message: 'one' }, { message: 'two', log_level: 'warning', stage_number: null }]);
      await tracker.updateMetrics({ tokens: 731.5 });
      return step('edit', () => ({ files: 2, big: 10n }));
    });
    expect(result).toEqual({ files: 2, big: 10n });

    const history = await new ProgressTracker(principal(), { executionId: id }).getExecutionHistory();
    expect(history.map(({ seq }) => seq)).toEqual(history.map((_, index) => index + 1));
    expect(history.map(({ row }) => [row.event_type, row.stage_number])).toEqual([
      ['execution-planned', null],
      ['execution-started', null],
      ['stage-changed', 1],
      ['task-assigned', 1],
      ['task-progress', 1],
      ['task-completed', 1],
      ['stage-changed', 2],
      ['log', 2],
      ['log', null],
      ['metrics-update', 2],
      ['task-assigned', 2],
      ['task-completed', 2],
      ['execution-completed', 2],
    ]);
    const contextOf = (index: number) => history[index]?.row.context as { step_id: string };
    expect(contextOf(11)).toMatchObject({ step: 'edit', success: true, output: { files: 2, big: '10' } });
    expect(contextOf(11).step_id).toBe(contextOf(10).step_id);
    // Once more is no error; another end is.
    expect(await service.finalizeExecution(id, 'completed')).toMatchObject({ status: 'completed' });
    await expect(service.finalizeExecution(id, 'failed', new Error('late'))).rejects.toMatchObject({
      code: 'state_conflict',
    });
    expect(await types(id)).toHaveLength(13);
  });

  test('what went wrong is told just before the end, and the error comes through', async () => {
    const service = new AgentExecutionService(principal(), { retry: { base: 1, cap: 2 } });
    const { execution_id: id } = await service.initializeExecution({ venture_id: venture });
    const boom = new TypeError('x is not a function');
    let attempts = 0;
    const run = service.trackProgress(id, async ({ step }) => {
      await step('flaky', ({ attempt }) => {
        attempts = attempt;
        if (attempt < 3) throw Object.assign(new Error('reset by peer'), { code: 'ECONNRESET' });
      });
      await step('broken', () => {
        throw boom;
      });
    });
    await expect(run).rejects.toBe(boom);
    expect(attempts).toBe(3);
    const told = await events(id);
    expect(told.map(({ type }) => type)).toEqual([
      'execution-started',
      'task-assigned',
      'task-progress', // a retry
      'task-progress',
      'task-completed',
      'task-assigned',
      'task-failed',
      'error',
      'execution-failed',
    ]);
    expect(told[2]).toMatchObject({ level: 'warning', context: { step: 'flaky', attempt: 1, error: 'reset by peer' } });
    expect(told[6]).toMatchObject({ level: 'error', context: { success: false, error: 'x is not a function' } });
    expect(told[7]).toMatchObject({ message: 'x is not a function' });
  });

  test('an abort cancels the execution and begins no further step', async () => {
    const service = new AgentExecutionService(principal());
    const { execution_id: id } = await service.initializeExecution({ venture_id: venture });
    const stop = new AbortController();
    const run = service.trackProgress(
      id,
      async ({ step }) => {
        await step('first', () => stop.abort(new Error('enough')));
        await step('second', () => {});
      },
      { signal: stop.signal },
    );
    await expect(run).rejects.toThrow('enough');
    expect(await types(id)).toEqual(['execution-started', 'task-assigned', 'task-completed', 'execution-cancelled']);
  });
});

test('I5 a viewer sees and cannot write, a stranger neither, and none what is not there', async () => {
  const id = await create();
  for (const subject of ['vic', 'eve']) {
    const executions = new Executions(as(subject));
    const outcomes = await Promise.allSettled([
      executions.create({ venture_id: venture }),
      executions.change(id, { status: 'completed' }),
      executions.append(id, [{ message: 'x' }]),
      executions.record(id, [{ metric_name: 'x', metric_value: 1 }]),
      executions.change('00000000-0000-4000-8000-00000000dead', { status: 'completed' }),
      executions.create({ venture_id: '00000000-0000-4000-8000-00000000dead' }),
    ]);
    expect(outcomes.map(codeOf)).toEqual([...Array(4).fill('forbidden'), 'unknown_execution', 'unknown_venture']);
  }
  const past = await new ProgressTracker(as('vic'), { executionId: id }).getExecutionHistory();
  expect(past.map(({ row }) => row.event_type)).toEqual(['execution-started']);
  expect(await new ProgressTracker(as('eve'), { executionId: id }).getExecutionHistory()).toEqual([]);
});

test('the rules of state: what may follow is done, what may not says why, a finished execution takes nothing', async () => {
  const executions = new Executions(login);
  for (const from of STATUSES) {
    for (const to of STATUSES) {
      const id = await create('pending');
      await pool.query('UPDATE agent_executions SET status = $2 WHERE execution_id = $1', [id, from]);
      const before = (await events(id)).length;
      const [outcome] = await Promise.allSettled([executions.change(id, { status: to })]);
      expect([from, to, outcome && codeOf(outcome)]).toEqual([from, to, mayFollow(from, to) ? 'ok' : 'state_conflict']);
      expect((await events(id)).length - before).toBe(mayFollow(from, to) && from !== to ? 1 : 0);
      if (from !== to) continue;
      const open = following[from].length > 0;
      const more = await Promise.allSettled([
        executions.append(id, [{ message: 'x' }]),
        executions.record(id, [{ metric_name: 'x', metric_value: 1 }]),
        executions.change(id, { stage_number: 3 }),
        executions.change(id, { metadata: { late: true } }),
      ]);
      expect([from, ...more.map(codeOf)]).toEqual([from, ...Array(4).fill(open ? 'ok' : 'state_conflict')]);
    }
  }
  const id = await create('pending');
  await expect(executions.change(id, { status: 'completed' })).rejects.toThrow(
    `execution ${id} is pending; completed may not follow. Allowed: running, cancelled, failed`,
  );
});

test('nothing follows the last event, however many append while it is written', async () => {
  const executions = new Executions(login);
  for (let round = 0; round < 5; round += 1) {
    const id = await create();
    const append = (index: number) => executions.append(id, [{ message: `${index}` }]);
    const first = Array.from({ length: 25 }, (_, index) => append(index));
    const change = executions.change(id, { status: 'completed' });
    const last = Array.from({ length: 25 }, (_, index) => append(25 + index));
    const [ends, ...outcomes] = await Promise.allSettled([change, ...first, ...last]);
    expect(ends && codeOf(ends)).toBe('ok');
    const written = await types(id);
    expect(written.at(-1)).toBe('execution-completed');
    const codes = outcomes.map(codeOf);
    expect(codes.filter((code) => code === 'ok')).toHaveLength(written.length - 2);
    expect(codes.filter((code) => code !== 'ok' && code !== 'state_conflict')).toEqual([]);
  }
});

test('of two changes at once one wins, and the other is told', async () => {
  for (let round = 0; round < 10; round += 1) {
    const id = await create();
    const executions = new Executions(login);
    const outcomes = await Promise.allSettled([
      executions.change(id, { status: 'completed' }),
      executions.change(id, { status: 'failed' }),
    ]);
    expect(outcomes.map(codeOf).sort()).toEqual(['ok', 'state_conflict']);
    expect(await types(id)).toHaveLength(2);
  }
});

test('plain SQL stays free, and a writer that was in the way costs nothing (I8)', async () => {
  const id = await create();
  await new Executions(login).change(id, { status: 'completed' });
  await pool.query(`INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, 'a postscript')`, [id]);
  expect((await types(id)).at(-1)).toBe('log');
  const told = `INSERT INTO agent_execution_logs (execution_id, event_type) VALUES ($1, 'execution-resumed')`;
  await pool.query(told, [id]);
  expect((await types(id)).at(-1)).toBe('execution-resumed');

  // The log first and the status after it, in one transaction, while a service writes: one of the two has to begin again.
  const other = await create();
  const writer = await pool.connect();
  await writer.query('BEGIN');
  await writer.query(`INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, 'mine')`, [other]);
  const appended = new Executions(login).append(other, [{ message: 'theirs' }]);
  const changed = writer
    .query(`UPDATE agent_executions SET status = 'paused' WHERE execution_id = $1`, [other])
    .then(() => writer.query('COMMIT'))
    .catch(() => writer.query('ROLLBACK'));
  await expect(appended).resolves.toMatchObject({ value: { appended: 1 } });
  await changed;
  writer.release();
});

test('what cannot be stored, or is not for the caller to say, is refused, and says so', async () => {
  const id = await create();
  const executions = new Executions(login);
  let deep: unknown = 0;
  for (let level = 0; level < 20_000; level += 1) deep = [deep];
  const outcomes = await Promise.allSettled([
    executions.append(id, [{ message: 'a\0b' }]),
    executions.append(id, [{ message: 'fine' }, { context: { text: 'a\0b' } }]),
    executions.append(id, [{ context: deep }]),
    executions.append(id, []),
    executions.append('7', [{ message: 'x' }]),
    executions.change(id, {}),
    executions.change(id, { stage_number: 2 ** 31 }),
    executions.record(id, [{ metric_name: 'x', metric_value: Number.NaN }]),
    executions.append(id, [{ event_type: 'execution-completed' }]), // what only a change of the status writes
    executions.finish(id, 'paused' as 'failed'),
  ]);
  expect(outcomes.map(codeOf)).toEqual(outcomes.map(() => 'invalid_request'));
  expect(await types(id)).toEqual(['execution-started']);
});
