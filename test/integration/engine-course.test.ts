import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import {
  brokenLaws,
  claim,
  claimed,
  complete,
  type EngineDatabase,
  engineDatabase,
  events,
  fail,
  planned,
  started,
  statuses,
  statusOf,
  value,
} from '../support/engine.js';

let database: EngineDatabase;
let client: EngineDatabase['client'];
let venture: string;

beforeAll(async () => {
  database = await engineDatabase();
  ({ client, venture } = database);
  await client.query(`INSERT INTO agent_types (agent_type, backoff_base_ms) VALUES ('a', 0), ('b', 0), ('c', 0)`);
});
afterAll(async () => {
  expect(await brokenLaws(client)).toEqual([]);
  await database.drop();
});
beforeEach(async () => {
  await client.query(`UPDATE agent_executions SET status = 'cancelled' FROM strategy_executions s
    WHERE s.execution_id = agent_executions.execution_id AND status IN ('pending', 'running', 'paused')`);
});

const CHAIN = [
  { name: 'find', agent_type: 'a' },
  { name: 'write', agent_type: 'b', needs: ['find'] },
  { name: 'send', agent_type: 'c', needs: ['write'] },
];
const taskOf = (execution: string, name: string) =>
  value<string>(client, 'SELECT task_id FROM agent_tasks WHERE execution_id = $1 AND name = $2', [execution, name]);
const PERMANENT = { class: 'permanent', message: 'no such page' };

test('E2, E3: a chain runs in its order, and every transition is an event', async () => {
  const execution = await started(client, venture, CHAIN);
  expect(await claim(client, ['b', 'c'])).toBeNull();
  for (const type of ['a', 'b', 'c']) await complete(client, await claimed(client, type), { by: type });
  expect(await events(client, execution)).toEqual([
    'execution-planned',
    'execution-started',
    'task-ready find',
    'task-assigned find',
    'task-completed find',
    'task-ready write',
    'task-assigned write',
    'task-completed write',
    'task-ready send',
    'task-assigned send',
    'task-completed send',
    'execution-completed',
  ]);
});

test('a task gets the results of those that it needs', async () => {
  await started(client, venture, CHAIN);
  await complete(client, await claimed(client, 'a'), { pages: 3 });
  expect((await claimed(client, 'b')).results).toEqual({ find: { pages: 3 } });
});

test('E8: behind a failure all is skipped, what is independent goes on, and the end is failed', async () => {
  const execution = await started(client, venture, [
    ...CHAIN,
    { name: 'report', agent_type: 'c', needs: [{ task: 'send', on: 'ended' }] },
  ]);
  await fail(client, await claimed(client, 'a'), PERMANENT);
  expect(await statuses(client, execution)).toEqual({
    find: 'failed',
    write: 'skipped',
    send: 'skipped',
    report: 'ready',
  });
  await complete(client, await claimed(client, 'c'));
  expect(await statusOf(client, execution)).toBe('failed');
  expect((await events(client, execution)).slice(-3)).toEqual(['task-completed report', 'error', 'execution-failed']);
});

test('E9: retries by class of error, up to the number of attempts', async () => {
  const execution = await started(client, venture, [{ name: 'flaky', agent_type: 'a' }]);
  const tries = [];
  for (let task = await claim(client, ['a']); task !== null; task = await claim(client, ['a'])) {
    tries.push(task.attempt);
    await fail(client, task, { class: 'transient', message: '503' });
  }
  expect(tries).toEqual([1, 2, 3]);
  expect(await statusOf(client, execution)).toBe('failed');
});

test('E4: the retry of an error that says when waits until then, whatever the policy says', async () => {
  await started(client, venture, [{ name: 'limited', agent_type: 'a' }]);
  await fail(client, await claimed(client, 'a'), { class: 'rate_limited', retry_after_ms: 60_000 });
  expect(await claim(client, ['a'])).toBeNull();
  const wait = await value<number>(
    client,
    `SELECT extract(epoch FROM run_at - now())::int FROM agent_tasks WHERE status = 'ready'`,
  );
  expect(wait).toBeGreaterThan(55);
});

test('linear and exponential delays', async () => {
  const delays = async (backoff: string) => {
    await client.query(
      `INSERT INTO agent_types (agent_type, backoff, backoff_base_ms, max_attempts) VALUES ($1, $1, CASE $1 WHEN 'linear' THEN 1000 ELSE 2000 END, 8)`,
      [backoff],
    );
    const execution = await started(client, venture, [{ name: 'x', agent_type: backoff }]);
    const found: number[] = [];
    for (let attempt = 1; attempt < 7; attempt++) {
      await fail(client, await claimed(client, backoff), { class: 'transient' });
      found.push(
        await value<number>(
          client,
          `SELECT (context ->> 'delay_ms')::int FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq DESC LIMIT 1`,
          [execution],
        ),
      );
      await client.query('UPDATE agent_tasks SET run_at = now() WHERE execution_id = $1', [execution]);
    }
    return found;
  };
  const linear = await delays('linear');
  for (const [index, delay] of linear.entries()) expect(Math.abs(delay - 1000 * (index + 1))).toBeLessThan(200);
  const exponential = await delays('exponential');
  for (const [index, delay] of exponential.entries())
    expect(delay).toBeLessThanOrEqual(Math.min(30_000, 2000 * 2 ** index));
});

test('on_failure hold: it pauses; a retry and a resume bring it to its end', async () => {
  const execution = await started(client, venture, CHAIN, { on_failure: 'hold' });
  await fail(client, await claimed(client, 'a'), PERMANENT);
  expect(await statusOf(client, execution)).toBe('paused');
  await client.query('SELECT rowcast.retry_task($1)', [await taskOf(execution, 'find')]);
  expect(await statuses(client, execution)).toEqual({ find: 'ready', write: 'blocked', send: 'blocked' });
  expect(await claim(client, ['a'])).toBeNull();
  await client.query('SELECT rowcast.resume_execution($1)', [execution]);
  for (const type of ['a', 'b', 'c']) await complete(client, await claimed(client, type));
  expect(await statusOf(client, execution)).toBe('completed');
});

test('skip: it goes on without a failed task, as if that had ended well', async () => {
  const execution = await started(client, venture, CHAIN, { on_failure: 'hold' });
  await fail(client, await claimed(client, 'a'), PERMANENT);
  await client.query('SELECT rowcast.skip_task($1)', [await taskOf(execution, 'find')]);
  await client.query('SELECT rowcast.resume_execution($1)', [execution]);
  for (const type of ['b', 'c']) await complete(client, await claimed(client, type));
  expect(await statuses(client, execution)).toEqual({ find: 'skipped', write: 'completed', send: 'completed' });
  expect(await statusOf(client, execution)).toBe('completed');
});

test('E7: on_failure stop: what is open is cancelled with the first failure', async () => {
  const parallel = [{ name: 'one', agent_type: 'a' }, { name: 'two', agent_type: 'b' }, ...CHAIN];
  const execution = await started(client, venture, parallel, { on_failure: 'stop' });
  const other = await claimed(client, 'b');
  await fail(client, await claimed(client, 'a'), PERMANENT);
  expect(Object.values(await statuses(client, execution)).filter((status) => status === 'cancelled')).toHaveLength(4);
  expect(await statusOf(client, execution)).toBe('failed');
  expect(await complete(client, other)).toBe(false);
  expect(await value(client, 'SELECT rowcast.heartbeat_task($1, $2)', [other.task_id, other.lease])).toBe('cancelled');
});

test('E6: drain lets running tasks end, stop gives them back with the same attempt', async () => {
  const execution = await started(client, venture, CHAIN);
  const first = await claimed(client, 'a');
  await client.query('SELECT rowcast.pause_execution($1)', [execution]);
  expect(await complete(client, first)).toBe(true);
  expect(await statuses(client, execution)).toMatchObject({ find: 'completed', write: 'ready' });
  expect(await claim(client, ['b'])).toBeNull();
  await client.query('SELECT rowcast.resume_execution($1)', [execution]);
  const second = await claimed(client, 'b');
  await client.query(`SELECT rowcast.pause_execution($1, 'stop')`, [execution]);
  expect(await complete(client, second)).toBe(false);
  await client.query('SELECT rowcast.resume_execution($1)', [execution]);
  expect(await claimed(client, 'b')).toMatchObject({ task_id: second.task_id, attempt: 1 });
});

test('E11: a late report changes nothing; the same report again is answered as the first time', async () => {
  const execution = await started(client, venture, CHAIN);
  const late = await claimed(client, 'a');
  await client.query('UPDATE agent_tasks SET lease_until = now() WHERE task_id = $1', [late.task_id]);
  expect(await value(client, 'SELECT array_agg(o) FROM rowcast.overdue() o')).toEqual([execution]);
  await client.query('SELECT rowcast.attend($1)', [execution]);
  const next = await claimed(client, 'a');
  expect(next).toMatchObject({ task_id: late.task_id, attempt: 2 });
  expect(await complete(client, late, 'late')).toBe(false);
  expect(await fail(client, late, PERMANENT)).toBe(false);
  expect([await complete(client, next, 'right'), await complete(client, next, 'right')]).toEqual([true, true]);
  expect(await value(client, 'SELECT output FROM agent_tasks WHERE task_id = $1', [next.task_id])).toBe('right');
});

test('a checkpoint is handed to the next attempt', async () => {
  const execution = await started(client, venture, CHAIN);
  const { task_id, lease } = await claimed(client, 'a');
  const report = JSON.stringify({ percent: 40, message: 'page 4', checkpoint: { page: 4 }, usage: { cost: 0.5 } });
  expect(await value(client, 'SELECT rowcast.heartbeat_task($1, $2, $3)', [task_id, lease, report])).toBe('continue');
  await client.query('UPDATE agent_tasks SET lease_until = now() WHERE task_id = $1', [task_id]);
  await client.query('SELECT rowcast.attend($1)', [execution]);
  expect(await claimed(client, 'a')).toMatchObject({ attempt: 2, checkpoint: { page: 4 } });
});

test('budget: it pauses when it is spent, and resumes only with more', async () => {
  const execution = await started(client, venture, CHAIN, { budget: 1 });
  const { task_id, lease } = await claimed(client, 'a');
  await client.query('SELECT rowcast.complete_task($1, $2, NULL, $3)', [task_id, lease, JSON.stringify({ cost: 1.2 })]);
  expect(await statusOf(client, execution)).toBe('paused');
  await expect(client.query('SELECT rowcast.resume_execution($1)', [execution])).rejects.toMatchObject({
    code: 'RC001',
    constraint: 'budget_reached',
  });
  await client.query('SELECT rowcast.resume_execution($1, 5)', [execution]);
  expect(await statusOf(client, execution)).toBe('running');
});

test('signals: a task gives its slot back until one comes; the first of a name counts', async () => {
  const execution = await started(client, venture, CHAIN);
  const task = await claimed(client, 'a');
  await client.query(`SELECT rowcast.wait_task($1, $2, 'approved')`, [task.task_id, task.lease]);
  expect(await claim(client, ['a'])).toBeNull();
  const signal = (payload: object) =>
    value(client, `SELECT rowcast.signal_execution($1, 'approved', $2)`, [execution, JSON.stringify(payload)]);
  expect([await signal({ by: 'ann' }), await signal({ by: 'bob' })]).toEqual([true, false]);
  const again = await claimed(client, 'a');
  expect(again).toMatchObject({ attempt: 1, input: { signals: { approved: { by: 'ann' } } } });
  await client.query(`SELECT rowcast.wait_task($1, $2, 'approved')`, [again.task_id, again.lease]);
  expect((await statuses(client, execution)).find).toBe('ready'); // it is there already
});

test('a person completes a task of the kind human; workers cannot claim it', async () => {
  const execution = await started(client, venture, [
    { name: 'approve', kind: 'human' },
    { name: 'send', agent_type: 'a', needs: ['approve'] },
  ]);
  expect(await claim(client, ['human', 'a'])).toBeNull();
  await client.query('SELECT rowcast.finish_task($1, $2)', [await taskOf(execution, 'approve'), '{"yes": true}']);
  expect((await claimed(client, 'a')).results).toEqual({ approve: { yes: true } });
});

test('the time: a deadline cancels, a task that no worker took fails', async () => {
  const late = await started(client, venture, CHAIN, { deadline_at: new Date().toISOString() });
  const alone = await started(client, venture, [{ name: 'x', agent_type: 'nobody', due_seconds: 1 }]);
  await client.query(`UPDATE agent_tasks SET due_at = now() - interval '1 second' WHERE execution_id = $1`, [alone]);
  const due = await value<string[]>(client, 'SELECT array_agg(o) FROM rowcast.overdue() o');
  expect(due.sort()).toEqual([late, alone].sort());
  for (const execution of due) await client.query('SELECT rowcast.attend($1)', [execution]);
  expect([await statusOf(client, late), await statusOf(client, alone)]).toEqual(['cancelled', 'failed']);
});

test('tasks are added while it runs, and it ends after them', async () => {
  const execution = await started(client, venture, [{ name: 'split', agent_type: 'a' }]);
  const { task_id, lease } = await claimed(client, 'a');
  const more = ['p1', 'p2'].map((name) => ({ name, agent_type: 'b' }));
  const tasks = JSON.stringify([...more, { name: 'join', agent_type: 'c', needs: ['p1', 'p2', 'split'] }]);
  expect(await value(client, 'SELECT rowcast.add_tasks($1, $2, $3)', [execution, tasks, lease])).toBe(3);
  await client.query('SELECT rowcast.complete_task($1, $2)', [task_id, lease]);
  for (const type of ['b', 'b', 'c']) await complete(client, await claimed(client, type));
  expect(await statusOf(client, execution)).toBe('completed');
});

test('E19: a fork leaves the original as it is, and runs nothing again that was completed', async () => {
  const execution = await started(client, venture, CHAIN);
  await complete(client, await claimed(client, 'a'), { pages: 3 });
  await fail(client, await claimed(client, 'b'), PERMANENT);
  const before = await events(client, execution);
  const fork = await value<string>(client, 'SELECT rowcast.fork_execution($1)', [execution]);
  expect(await claim(client, ['a'])).toBeNull();
  expect((await claimed(client, 'b')).results).toEqual({ find: { pages: 3 } });
  const again = await value<string>(client, `SELECT rowcast.fork_execution($1, 'find')`, [execution]);
  expect(await statuses(client, again)).toEqual({ find: 'ready', write: 'blocked', send: 'blocked' });
  expect(await statuses(client, fork)).toEqual({ find: 'completed', write: 'running', send: 'blocked' });
  expect(await events(client, execution)).toEqual(before);
});

test('E3, E7: the old doors: a change of the status has its consequences, or is refused', async () => {
  const execution = await planned(client, venture, CHAIN);
  const set = (status: string) =>
    client.query('UPDATE agent_executions SET status = $2 WHERE execution_id = $1', [execution, status]);
  const refused = { code: 'RC001', constraint: 'state_conflict' };
  await set('running');
  expect((await statuses(client, execution)).find).toBe('ready');
  await expect(set('completed')).rejects.toMatchObject(refused);
  await expect(set('failed')).rejects.toMatchObject(refused);
  await set('paused');
  expect(await claim(client, ['a'])).toBeNull();
  await set('cancelled');
  expect(Object.values(await statuses(client, execution))).toEqual(['cancelled', 'cancelled', 'cancelled']);
  expect((await events(client, execution)).at(-1)).toBe('execution-cancelled');
  await expect(set('running')).rejects.toMatchObject(refused);
  await expect(
    client.query(`UPDATE agent_tasks SET status = 'ready' WHERE execution_id = $1`, [execution]),
  ).rejects.toMatchObject(refused);
});

test.each([
  [
    'a cycle',
    [
      { name: 'a', needs: ['c'] },
      { name: 'b', needs: ['a'] },
      { name: 'c', needs: ['b'] },
    ],
    /a cycle: a → c → b → a/,
  ],
  ['a cycle of one', [{ name: 'a', needs: ['a'] }], /a cycle: a → a/],
  ['an unknown need', [{ name: 'a', needs: ['z'] }], /task a needs z/],
  ['two of a name', [{ name: 'a' }, { name: 'a' }], /2 tasks have the name a/],
])('E17: a plan with %s is refused, and nothing is written', async (_, tasks, message) => {
  const plan = tasks.map((task) => ({ agent_type: 'a', ...task }));
  const count = () => value(client, 'SELECT count(*)::int FROM agent_executions');
  const before = await count();
  await expect(planned(client, venture, plan)).rejects.toMatchObject({
    constraint: 'plan_invalid',
    message: expect.stringMatching(message),
  });
  expect(await count()).toBe(before);
});

test('E10: an execution without a row of the engine is written by its service, as before', async () => {
  const id = await value(client, 'INSERT INTO agent_executions (venture_id) VALUES ($1) RETURNING execution_id', [
    venture,
  ]);
  for (const status of ['running', 'completed']) {
    await client.query('UPDATE agent_executions SET status = $2 WHERE execution_id = $1', [id, status]);
  }
  expect(await events(client, id as string)).toEqual(['execution-started', 'execution-completed']);
});
