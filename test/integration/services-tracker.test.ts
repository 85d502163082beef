import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type pg from 'pg';
import { advance, begin, stepsOf, viewOf } from '../../client/progress/index.js';
import { makeLogger } from '../../server/ground/logger.js';
import {
  AgentExecutionService,
  type ConnectedDatabase,
  connectDatabase,
  type Database,
  ProgressTracker,
  type RunningStep,
  Unavailable,
} from '../../server/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { killAll, runScript } from '../support/process.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { until } from '../support/until.js';
import { connectWriter, newExecution } from '../support/writer.js';

let database: TestDatabase;
let writer: pg.Client;
let proxy: FaultProxy;
let connected: ConnectedDatabase;
let id: string;
const lines: string[] = [];
const logger = makeLogger('warn', (line) => lines.push(line));

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  proxy = await startProxy(Number(new URL(database.url).port));
  connected = connectDatabase(proxy.via(database.url));
});
afterAll(async () => {
  killAll();
  await connected.close();
  await proxy.close();
  await writer.end();
  await database.drop();
});
beforeEach(async () => {
  id = await newExecution(writer);
  lines.length = 0;
});

const told = async () => {
  const text = `SELECT seq::int, event_type AS type, message, row_to_json(l) AS row FROM agent_execution_logs l
    WHERE execution_id = $1 ORDER BY seq`;
  return (await writer.query<{ seq: number; type: string; message: string; row: Record<string, unknown> }>(text, [id]))
    .rows;
};
const types = async () => (await told()).map(({ type }) => type);

test('what was written stays when the process is killed inside a step', async () => {
  const script = `
    import { connectDatabase, ProgressTracker } from 'rowcast/server';
    const options = { executionId: process.argv[2], patience: 60_000 }; // the step begins when its write is made
    const tracker = new ProgressTracker(connectDatabase(process.env.DATABASE_URL), options);
    await tracker.step('first', () => 1);
    await tracker.step('second', () => {
      console.log('inside');
      return new Promise((resolve) => setTimeout(resolve, 60_000));
    });`;
  const { child, output, exited } = await runScript(script, [id], { DATABASE_URL: database.url });
  await until(() => output() !== '', { what: 'the second step' });
  child.kill('SIGKILL');
  expect(await exited).toBe('SIGKILL');
  const rows = await told();
  expect(rows.map(({ type, message }) => `${type} ${message}`)).toEqual([
    'task-assigned first',
    'task-completed first',
    'task-assigned second',
  ]);
  const state = rows.reduce((state, { seq, row }) => advance(state, { seq, row }), begin());
  expect(viewOf(state, Date.now()).steps).toMatchObject({ done: 1, running: 1, failed: 0 });
  expect(stepsOf(state).map(({ name, status }) => `${name} ${status}`)).toEqual(['first done', 'second running']);
});

test('a database that is away neither stops nor delays the work; what happened is written when it is back', async () => {
  const tracker = new ProgressTracker(connected, { executionId: id, patience: 100, logger });
  await tracker.step('before', () => 'a');
  proxy.refuse();
  proxy.reset();
  const begun = fairNow();
  const boom = new Error('of the work');
  expect(await tracker.step('during', ({ progress }) => progress(10).then(() => 'b'))).toBe('b');
  await expect(tracker.step('broken', () => Promise.reject(boom))).rejects.toBe(boom);
  for (let index = 0; index < 50; index += 1) await tracker.step(`step ${index}`, () => index);
  // Once for all of them together.
  expect(fairNow() - begun).toBeLessThan(1_000);
  expect(tracker.flush(1)).resolves.toMatchObject({ dropped: 0 });
  proxy.heal();
  expect(await tracker.flush(30_000)).toEqual({ waiting: 0, dropped: 0 });
  const messages = (await told()).map(({ type, message }) => `${type} ${message}`);
  expect(messages.slice(0, 7)).toEqual([
    'task-assigned before',
    'task-completed before',
    'task-assigned during',
    'task-progress during',
    'task-completed during',
    'task-assigned broken',
    'task-failed broken',
  ]);
  expect(messages.slice(7)).toEqual(
    Array.from({ length: 50 }, (_, index) => [`task-assigned step ${index}`, `task-completed step ${index}`]).flat(),
  );
  expect(lines).toEqual([]);
});

test('a commit whose answer is lost is tried again, and writes nothing twice', async () => {
  const { rows } = await writer.query<{ venture_id: string }>('SELECT venture_id FROM ventures LIMIT 1');
  const heard = new Set<unknown>();
  /** Each piece of work is committed twice before that is heard of. */
  const deaf: Database = {
    statement: (...query) => connected.statement(...query),
    async transaction(work) {
      const answer = await connected.transaction(work);
      const known = JSON.stringify(answer);
      if (heard.has(known)) return answer;
      heard.add(known);
      throw new Unavailable('the connection was lost in the commit');
    },
  };
  const retry = { base: 1, cap: 1 };
  const created = await new AgentExecutionService(deaf, { retry }).initializeExecution({
    venture_id: rows[0]?.venture_id ?? '',
  });
  id = created.execution_id;
  const tracker = new ProgressTracker(deaf, { executionId: id, logger });
  await tracker.addLogs([{ message: 'one' }, { message: 'two' }]);
  await tracker.updateMetrics({ tokens: 1 });
  await tracker.finish('cancelled');
  expect(await tracker.flush()).toEqual({ waiting: 0, dropped: 0 });
  expect((await told()).map(({ message }) => message)).toEqual(['one', 'two', 'tokens = 1', 'execution is cancelled']);
  const count = 'SELECT count(*)::int AS n FROM agent_executions WHERE venture_id = $1 AND created_at >= $2';
  expect((await writer.query(count, [created.venture_id, created.created_at])).rows).toEqual([{ n: 1 }]);
});

test('more than may wait is dropped, the oldest first, and so is what is refused; the log says how much', async () => {
  const tracker = new ProgressTracker(connected, { executionId: id, patience: 20, maxWaiting: 10, logger });
  proxy.refuse();
  proxy.reset();
  for (let index = 0; index < 15; index += 1) await tracker.addLog({ message: `${index}` });
  // The first one is being written, ten wait.
  expect(await tracker.flush(1)).toEqual({ waiting: 11, dropped: 4 });
  proxy.heal();
  expect(await tracker.flush()).toEqual({ waiting: 0, dropped: 4 });
  expect((await told()).map(({ message }) => message)).toEqual([
    '0',
    '5',
    '6',
    '7',
    '8',
    '9',
    '10',
    '11',
    '12',
    '13',
    '14',
  ]);

  await writer.query(`UPDATE agent_executions SET status = 'cancelled' WHERE execution_id = $1`, [id]);
  expect(await tracker.step('too late', () => 7)).toBe(7);
  expect(await tracker.flush()).toEqual({ waiting: 0, dropped: 6 });
  expect(lines.map((line) => (JSON.parse(line) as { dropped: number }).dropped)).toEqual([1, 2, 3, 4, 5, 6]);
  expect((await types()).at(-1)).toBe('execution-cancelled');
});

test('outputs of every kind are stored, or said to be what they are', async () => {
  const tracker = new ProgressTracker(connected, { executionId: id, logger });
  const loop: { self?: unknown } = {};
  loop.self = loop;
  const changing = { value: 1 };
  const outputs = [undefined, 'a\0b\ud800', 10n, 'x'.repeat(20_000), loop, () => 1, changing];
  for (const output of outputs) expect(await tracker.step('s', () => output)).toBe(output);
  changing.value = 2;
  await tracker.addLogs(Array.from({ length: 1_500 }, (_, index) => ({ message: `${index}\0` })));
  expect(await tracker.flush()).toEqual({ waiting: 0, dropped: 0 });
  const rows = await told();
  const stored = rows
    .filter(({ type }) => type === 'task-completed')
    .map(({ row }) => (row.context as { output: unknown }).output);
  expect(stored).toEqual([
    null,
    'a\ufffdb\ufffd',
    '10',
    { cut: true, length: 20_002, begins: `"${'x'.repeat(999)}` },
    { unprintable: true },
    null,
    { value: 1 },
  ]);
  expect(rows.filter(({ type }) => type === 'log').map(({ message }) => message)).toEqual(
    Array.from({ length: 1_500 }, (_, index) => `${index}\ufffd`),
  );
});

test('what is refused by itself is dropped alone, and many metrics are several writes', async () => {
  const tracker = new ProgressTracker(connected, { executionId: id, logger });
  const many = Object.fromEntries(Array.from({ length: 1_500 }, (_, index) => [`m${index}`, index]));
  await tracker.updateMetrics({ ...many, broken: Number.NaN, ['n'.repeat(201)]: 1 });
  await tracker.addLogs([{ message: 'one' }, { event_type: 'execution-completed' }, { message: 'two' }]);
  await tracker.finish('running' as 'failed');
  expect(await tracker.flush()).toEqual({ waiting: 0, dropped: 4 });
  expect(lines).toHaveLength(4);
  const rows = await told();
  expect(rows.slice(0, -2).map(({ message }) => message)).toEqual(
    Object.entries(many).map(([name, value]) => `${name} = ${value}`),
  );
  expect(rows.slice(-2).map(({ message }) => message)).toEqual(['one', 'two']);
});

test('a step is told of as one, however long its name, its agent and what it says', async () => {
  const tracker = new ProgressTracker(connected, { executionId: id, logger });
  const long = '\u001b'.repeat(100_000);
  const work = async ({ progress }: RunningStep) => {
    await progress(50, long);
    throw new Error(long);
  };
  await expect(tracker.step(long, work, { agent: long })).rejects.toThrow();
  const rows = await told();
  expect(rows.map(({ type }) => type)).toEqual(['task-assigned', 'task-progress', 'task-failed']);
  const state = rows.reduce((state, { seq, row }) => advance(state, { seq, row }), begin());
  const [step, ...others] = stepsOf(state);
  expect([step?.status, step?.percent, step?.agent, others]).toEqual(['failed', 50, long.slice(0, 200), []]);
});

test('a step rejects with what its work threw, whatever that is', async () => {
  const tracker = new ProgressTracker(connected, { executionId: id, logger });
  const refusing = new Error('x');
  Object.defineProperty(refusing, 'message', {
    get: () => {
      throw new Error('not this one');
    },
  });
  const { proxy: revoked, revoke } = Proxy.revocable(new Error('x'), {});
  revoke();
  const thrown = [Object.assign(new Error(), { message: { a: 1 } }), refusing, revoked, Object.create(null), 10n];
  for (const [index, each] of thrown.entries()) {
    const work = tracker.step('s', () => {
      throw each;
    });
    const same = await work.then(
      () => false,
      (reason: unknown) => Object.is(reason, each),
    );
    expect([index, same]).toEqual([index, true]);
  }
  expect(await tracker.flush()).toEqual({ waiting: 0, dropped: 0 });
});

test('an execution is recorded first, and only once; it is running, so that it can end', async () => {
  const tracker = new ProgressTracker(connected, { logger });
  await expect(tracker.addLog({ message: 'x' })).rejects.toThrow('recordExecution');
  const { rows } = await writer.query<{ venture_id: string }>('SELECT venture_id FROM ventures LIMIT 1');
  const recorded = await tracker.recordExecution({ venture_id: rows[0]?.venture_id ?? '' });
  expect(tracker.executionId).toBe(recorded.execution_id);
  await expect(tracker.recordExecution({ venture_id: recorded.venture_id })).rejects.toThrow('already');
  await tracker.finish('completed');
  id = tracker.executionId;
  expect(await types()).toEqual(['execution-started', 'execution-completed']);
  await until(() => tracker.flush(0).then(({ waiting }) => waiting === 0), { what: 'the queue to be empty' });
});
