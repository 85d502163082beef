import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { DatabaseError } from 'pg';
import { Refusal } from '../../server/ground/refusal.js';
import { connectDatabase } from '../../server/postgres/connect-database.js';
import { type EngineDatabase, engineDatabase, started, value } from '../support/engine.js';
import { newVenture } from '../support/writer.js';

let database: EngineDatabase;
let client: EngineDatabase['client'];
let execution: string;
let failed: string;
let human: string;

beforeAll(async () => {
  database = await engineDatabase();
  client = database.client;
  const other = await newVenture(client);
  await client.query(
    `INSERT INTO venture_members VALUES ($1, 'viewer', 'viewer'), ($1, 'editor', 'editor'), ($2, 'neighbour', 'editor')`,
    [database.venture, other],
  );
  execution = await started(client, database.venture, [
    { name: 'agent', agent_type: 'a' },
    { name: 'human', kind: 'human' },
  ]);
  await started(client, other, [{ name: 'theirs', agent_type: 'a' }]);
  const ids = () =>
    value<string[]>(client, `SELECT array_agg(task_id ORDER BY number) FROM agent_tasks WHERE execution_id = $1`, [
      execution,
    ]);
  [failed, human] = (await ids()) as [string, string];
  await client.query(`SELECT rowcast.signal_execution($1, 'go')`, [execution]);
  await client.query(
    `INSERT INTO task_propagation_logs (execution_id, item_ref, item, rules, task_ids) VALUES ($1, 'i', '{}', '[]', '{}')`,
    [execution],
  );
  await client.query(
    `INSERT INTO execution_schedules (venture_id, name, cron, request) VALUES ($1, 's', '* * * * *', '{}')`,
    [database.venture],
  );
});
afterEach(async () => {
  await client.query('ROLLBACK'); // what a test that failed has left
});
afterAll(async () => {
  await database.drop();
});

type Claims = Readonly<Record<string, unknown>>;

/** What a statement answers for a principal: its first value, or the code of the refusal. Nothing of it stays. */
async function as(role: string, claims: Claims, text: string, values: readonly unknown[] = []): Promise<unknown> {
  try {
    await client.query('BEGIN');
    await client.query(`SELECT set_config('request.jwt.claims', $1, true), set_config('role', $2, true)`, [
      JSON.stringify(claims),
      role,
    ]);
    return await value(client, text, values);
  } catch (error) {
    const { code, constraint } = error as DatabaseError;
    return code === 'RC001' ? constraint : code;
  } finally {
    await client.query('ROLLBACK');
  }
}

const user = (sub: string) => (text: string, values?: readonly unknown[]) => as('authenticated', { sub }, text, values);
const REFUSED = '42501';

const TABLES = {
  strategy_executions: 1,
  agent_tasks: 2,
  task_propagation_logs: 1,
  execution_signals: 1,
  execution_schedules: 1,
  agent_task_dependencies: 0,
  propagation_rules: 5,
  agent_workers: 0,
};

test('E23: members see what is of their ventures; strangers, workers and those without a token do not', async () => {
  for (const [table, rows] of Object.entries(TABLES)) {
    const text = `SELECT count(*)::int FROM ${table}`;
    const found = {
      viewer: await user('viewer')(text),
      editor: await user('editor')(text),
      stranger: await user('stranger')(text),
      anon: await as('anon', {}, text),
      worker: await as('agent_worker', {}, text),
      gateway: await as('rowcast_gateway', {}, text),
    };
    const stranger = table === 'propagation_rules' ? 5 : 0;
    expect({ table, ...found }).toEqual({
      table,
      viewer: rows,
      editor: rows,
      stranger,
      anon: REFUSED,
      worker: REFUSED,
      gateway: REFUSED,
    });
  }
  expect(await user('viewer')('SELECT lease FROM agent_tasks')).toBe(REFUSED);
  expect(await user('viewer')('SELECT count(*)::int FROM agent_turns')).toBe(REFUSED);
  expect(await user('viewer')('SELECT count(*)::int > 3 FROM execution_events')).toBe(true);
  expect(await user('stranger')('SELECT count(*)::int FROM execution_events')).toBe(0);
});

test('E23: only the engine writes its tables', async () => {
  for (const table of Object.keys(TABLES).filter((name) => !/rules|schedules/.test(name))) {
    for (const role of ['authenticated', 'service_role', 'agent_worker', 'rowcast_gateway', 'anon']) {
      const rights = await value(
        client,
        `SELECT has_table_privilege($1, $2, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')`,
        [role, table],
      );
      expect({ table, role, rights }).toEqual({ table, role, rights: false });
    }
  }
  const schedule = `INSERT INTO execution_schedules (venture_id, name, cron, request) SELECT venture_id, 't', cron, '{}' FROM execution_schedules RETURNING name`;
  expect(await user('viewer')(schedule)).toBe(REFUSED);
  expect(await user('editor')(schedule)).toBe('t');
});

test('E23: editors control the executions of their ventures, and no other user does', async () => {
  const calls: readonly (readonly [string, readonly unknown[]])[] = [
    ['plan_execution($1, $2)', [database.venture, '{"tasks":[]}']],
    ['start_execution($1)', [execution]],
    ['pause_execution($1)', [execution]],
    ['resume_execution($1)', [execution]],
    ['cancel_execution($1)', [execution]],
    ['fork_execution($1)', [execution]],
    ['add_tasks($1, $2)', [execution, '[]']],
    ['signal_execution($1, $2)', [execution, 'stop']],
    ['retry_task($1)', [failed]],
    ['skip_task($1)', [failed]],
    ['finish_task($1)', [human]],
  ];
  for (const [call, values] of calls) {
    const text = `SELECT rowcast.${call}`;
    for (const sub of ['viewer', 'stranger', 'neighbour'])
      expect([call, sub, await user(sub)(text, values)]).toEqual([call, sub, REFUSED]);
    for (const role of ['anon', 'rowcast_gateway'])
      expect([call, role, await as(role, { sub: 'editor' }, text, values)]).toEqual([call, role, REFUSED]);
    expect([call, 'worker', await as('agent_worker', { sub: 'editor-of-nothing' }, text, values)]).toEqual([
      call,
      'worker',
      REFUSED,
    ]);
    expect([call, await user('editor')(text, values)]).not.toEqual([call, REFUSED]);
  }
});

test('E23: a worker gets tasks of the types and ventures that its token names, and nothing else', async () => {
  const claim = (claims: Claims) =>
    as('agent_worker', claims, `SELECT rowcast.claim_task('w', '{a,b}') ->> 'venture_id'`);
  expect(await claim({ sub: 'w', agent_types: ['b'] })).toBeNull();
  expect(await claim({ sub: 'w', ventures: [execution] })).toBeNull();
  expect(await claim({ sub: 'w', agent_types: ['a'], ventures: [database.venture] })).toBe(database.venture);
  expect(await user('editor')(`SELECT rowcast.claim_task('w', '{a}')`)).toBe(REFUSED);
  const { task_id, lease } = await value<{ task_id: string; lease: string }>(
    client,
    `SELECT rowcast.claim_task('w', '{a}')`,
  );
  for (const call of [
    'complete_task($1, $2)',
    'fail_task($1, $2)',
    'release_task($1, $2)',
    `wait_task($1, $2, 's')`,
    'heartbeat_task($1, $2)',
  ]) {
    const other = await as('agent_worker', { agent_types: ['b'] }, `SELECT rowcast.${call}`, [task_id, lease]);
    expect([call, other]).toEqual([call, call.startsWith('heartbeat') ? 'lost' : false]);
  }
  expect(await as('agent_worker', {}, 'SELECT rowcast.complete_task($1, $2)', [task_id, lease])).toBe(true);
});

test('E23: of the functions of the engine a role may call those that are said here', async () => {
  const { rows } = await client.query<{ role: string; functions: string[] }>(`
    SELECT r.rolname AS role, array_agg(DISTINCT p.proname::text ORDER BY p.proname::text) AS functions FROM pg_proc p, pg_roles r
     WHERE p.pronamespace = 'rowcast'::regnamespace AND p.prosecdef AND has_function_privilege(r.rolname, p.oid, 'EXECUTE')
       AND r.rolname IN ('anon', 'authenticated', 'service_role', 'agent_worker', 'rowcast_gateway')
       AND p.proname NOT IN ('execution_exists', 'record_health', 'judge_alerts', 'claim_alerts') -- of the executions
       AND p.prosrc ~ 'strategy_executions|agent_|rowcast\\.(lock|move|settle)' GROUP BY 1`);
  const control = [
    'add_tasks',
    'cancel_execution',
    'finish_task',
    'fork_execution',
    'pause_execution',
    'plan_execution',
    'resume_execution',
    'retry_task',
    'signal_execution',
    'skip_task',
    'start_execution',
  ];
  const work = [
    'begin_task',
    'claim_task',
    'complete_and_claim',
    'complete_task',
    'fail_task',
    'heartbeat_task',
    'lost_leases',
    'release_task',
    'wait_task',
    'worker_carries',
    'worker_seen',
  ];
  const time = ['attend', 'overdue', 'sweep_engine'];
  const found = Object.fromEntries(rows.map(({ role, functions }) => [role, functions]));
  expect(found).toEqual({
    authenticated: control,
    agent_worker: [...work, 'add_tasks'].sort(),
    service_role: [...control, ...work, ...time, 'send_tasks', 'purge_execution'].sort(),
    rowcast_gateway: time,
  });
});

test('a refusal of the SQL arrives as one of the table of errors', async () => {
  const service = connectDatabase(database.url);
  const cancel = service.transaction((sql) =>
    sql.query('SELECT rowcast.start_execution($1)', [database.venture], { parse: (row: unknown) => row } as never),
  );
  await expect(cancel).rejects.toEqual(
    new Refusal('unknown_execution', `there is no execution ${database.venture} that the engine runs`),
  );
  await service.close();
});
