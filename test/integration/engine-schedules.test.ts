import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Schedules } from '../../server/engine/schedules.js';
import type { LocalGateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/ground/logger.js';
import { type ConnectedDatabase, connectDatabase } from '../../server/postgres/connect-database.js';
import { ask, JWT_SECRET, tokenFor } from '../support/api.js';
import { brokenLaws, type EngineDatabase, engineDatabase, started, value } from '../support/engine.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { newVenture } from '../support/writer.js';

const PATH = '/api/agents/schedules';
const NOWHERE = '00000000-0000-4000-8000-00000000dead';
const PLAN = { tasks: [{ name: 'x', agent_type: 'a' }] };

let database: EngineDatabase;
let client: EngineDatabase['client'];
let gateway: LocalGateway;
let services: ConnectedDatabase;
let venture: string;
let other: string;
const tokens = new Map<string, string>();

beforeAll(async () => {
  database = await engineDatabase();
  ({ client, venture } = database);
  other = await newVenture(client);
  await client.query(
    `INSERT INTO venture_members VALUES ($1, 'viewer', 'viewer'), ($1, 'editor', 'editor'), ($2, 'neighbour', 'editor')`,
    [venture, other],
  );
  for (const name of ['viewer', 'editor', 'neighbour', 'stranger']) tokens.set(name, await tokenFor(name));
  tokens.set('worker', await tokenFor('worker', { role: 'agent_worker' }));
  tokens.set('service', await tokenFor('service', { role: 'service_role' }));
  services = connectDatabase(database.url);
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
});
afterAll(async () => {
  expect(await brokenLaws(client)).toEqual([]);
  await gateway.stop();
  await services.close();
  await database.drop();
});

const send = (method: string, path: string, body?: unknown, name = 'editor') =>
  ask(gateway, path, tokens.get(name), { method, ...(body !== undefined && { body: JSON.stringify(body) }) });
const create = (changes: object = {}, name = 'editor') =>
  send('POST', PATH, { venture_id: venture, name: 'nightly', cron: '0 3 * * *', request: PLAN, ...changes }, name);

test('a schedule is created with the time of its next execution, listed, paused, resumed and deleted', async () => {
  const made = await create({ timezone: 'Europe/Berlin' });
  expect(made).toMatchObject({
    status: 201,
    body: { name: 'nightly', enabled: true, overlap: 'skip', last_execution_id: null, request: PLAN },
  });
  const next = new Date(made.body.next_at);
  expect(next.getTime()).toBeGreaterThan(Date.now());
  expect(next.toLocaleTimeString('en-GB', { timeZone: 'Europe/Berlin' })).toBe('03:00:00');
  const path = `${PATH}/${made.body.schedule_id}`;
  const list = await send('GET', `${PATH}?venture_id=${venture}`, undefined, 'viewer');
  const { request, ...listed } = made.body;
  expect(list.body.schedules).toEqual([listed]);
  expect((await send('GET', path, undefined, 'viewer')).body).toEqual({ ...listed, request });
  expect((await send('PATCH', path, { enabled: false })).body).toMatchObject({ enabled: false, next_at: null });
  expect((await send('PATCH', path, { enabled: true })).body).toEqual(made.body);
  expect((await send('DELETE', path)).body).toEqual(made.body);
  expect((await send('DELETE', path)).body.code).toBe('unknown_schedule');
});

test('refusals are those of the table of errors, and nothing is written', async () => {
  const cycle = {
    tasks: [
      { name: 'one', agent_type: 'a', needs: ['two'] },
      { name: 'two', agent_type: 'a', needs: ['one'] },
    ],
  };
  const code = async (answer: ReturnType<typeof send>) => {
    const { status, body } = await answer;
    return [status, body.code];
  };
  expect(await code(create({ cron: 'whenever' }))).toEqual([400, 'invalid_request']);
  expect(await create({ timezone: 'Nowhere/Land' })).toMatchObject({
    status: 400,
    body: { code: 'invalid_request', detail: expect.stringMatching(/time zone specified: Nowhere/) },
  });
  for (const cron of ['0 0 30 2 *', '0 0 31 2,4,6,9,11 *']) {
    expect(await create({ cron })).toMatchObject({ status: 400, body: { detail: `cron: ${cron} never comes` } });
  }
  expect(await create({ request: cycle })).toMatchObject({ status: 422, body: { detail: 'a cycle: one → two → one' } });
  expect(await code(create({ venture_id: NOWHERE }))).toEqual([404, 'unknown_venture']);
  expect(await value(client, 'SELECT count(*)::int FROM execution_schedules')).toBe(0);
  const { body } = await create();
  expect(await code(create())).toEqual([409, 'state_conflict']);
  await send('DELETE', `${PATH}/${body.schedule_id}`);
});

test('E23: members see schedules, editors write them', async () => {
  const { body } = await create({ name: 'matrix' });
  const path = `${PATH}/${body.schedule_id}`;
  const found: Record<string, number[]> = {};
  for (const name of ['nobody', 'stranger', 'neighbour', 'worker', 'viewer', 'editor', 'service']) {
    const answers = [
      await send('GET', `${PATH}?venture_id=${venture}`, undefined, name),
      await send('GET', path, undefined, name),
      await create({ name: `by ${name}` }, name),
      await send('PATCH', path, { enabled: true }, name),
    ];
    found[name] = answers.map(({ status }) => status);
  }
  expect(found).toEqual({
    nobody: [401, 401, 401, 401],
    stranger: [403, 404, 403, 404],
    neighbour: [403, 404, 403, 404],
    worker: [403, 403, 403, 403],
    viewer: [200, 200, 403, 403],
    editor: [200, 200, 201, 200],
    service: [200, 200, 201, 200],
  });
  expect((await send('DELETE', path, undefined, 'viewer')).status).toBe(403);
  expect((await send('DELETE', path, undefined, 'neighbour')).status).toBe(404);
  await client.query('DELETE FROM execution_schedules');
});

test('one execution for each time, however many gateways look', async () => {
  const ids = await Promise.all(
    Array.from({ length: 5 }, async (_, n) => (await create({ name: `n${n}`, cron: '0 0 1 1 *' })).body.schedule_id),
  );
  await client.query('UPDATE execution_schedules SET next_at = now()');
  await Promise.all([1, 2, 3].map(() => new Schedules(services, makeLogger('error')).run()));
  const counts = `SELECT array_agg(n) FROM (SELECT count(e.*)::int AS n FROM execution_schedules s
    LEFT JOIN strategy_executions e USING (schedule_id) GROUP BY s.schedule_id) x`;
  const done = 'SELECT bool_and(next_at > now()) FROM execution_schedules';
  await until(() => value(client, done), { what: 'the gateway, which may have one of them locked' });
  expect(await value(client, counts)).toEqual(ids.map(() => 1));
  await client.query('DELETE FROM execution_schedules');
});

test('a schedule that fails keeps no other from its turn; one whose time never comes is disabled', async () => {
  const insert = `INSERT INTO execution_schedules (venture_id, name, cron, request, overlap, next_at, last_execution_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7)`;
  const last = await started(client, venture, PLAN.tasks);
  const soon = new Date(Date.now() - 60_000);
  await client.query('BEGIN'); // the gateway must not see half of them
  await client.query(insert, [venture, 'never', '0 0 30 2 *', PLAN, 'skip', null, null]);
  await client.query(insert, [venture, 'malformed', '0 3 * * *', { tasks: 'none' }, 'skip', soon, null]);
  await client.query(insert, [venture, 'stuck', '0 3 * * *', PLAN, 'cancel', soon, last]);
  await client.query(insert, [venture, 'fine', '0 3 * * *', PLAN, 'skip', new Date(), null]);
  await client.query(`CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
    CREATE TRIGGER no BEFORE UPDATE OF status ON agent_executions FOR EACH ROW WHEN (NEW.status = 'cancelled') EXECUTE FUNCTION no()`);
  await client.query('COMMIT');
  const fine = `SELECT last_execution_id FROM execution_schedules WHERE name = 'fine'`;
  await until(() => value(client, fine), { what: 'the one that is fine' });
  const { rows } = await client.query('SELECT name, enabled FROM execution_schedules ORDER BY name');
  expect(rows).toEqual([
    { name: 'fine', enabled: true },
    { name: 'malformed', enabled: false },
    { name: 'never', enabled: false },
    { name: 'stuck', enabled: true },
  ]);
  await client.query('DROP TRIGGER no ON agent_executions; DELETE FROM execution_schedules');
});

test('an editor cannot have the execution of another venture cancelled by a schedule', async () => {
  const theirs = await started(client, other, PLAN.tasks);
  const { body } = await create({ overlap: 'cancel' });
  await client.query('UPDATE execution_schedules SET last_execution_id = $2, next_at = now() WHERE schedule_id = $1', [
    body.schedule_id,
    theirs,
  ]);
  await new Schedules(services, makeLogger('error')).run();
  const status = 'SELECT status FROM agent_executions WHERE execution_id = $1';
  expect(await value(client, status, [theirs])).toBe('running');
});
