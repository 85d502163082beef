import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { LocalGateway } from '../../server/gateway.js';
import { ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { talk } from '../support/raw-http.js';
import { encodeFrame, openRawWebSocket, TEXT } from '../support/raw-websocket.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const EXECUTIONS = '/api/agents/executions';
const KIB = 1024;

let database: TestDatabase;
let writer: pg.Client;
let gateway: LocalGateway;
let venture: string;
let execution: string;
let ann: string;
let eve: string;
const sockets: Socket[] = [];

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  gateway = await startTestGateway(database.url, {
    ...NO_RATES,
    ROWCAST_JWT_SECRET: JWT_SECRET,
    ROWCAST_CONNECT_TIMEOUT: '1000',
  });
  [ann, eve] = [await tokenFor('ann'), await tokenFor('eve')];
  venture = await createVenture(writer, 'ann');
  execution = await createExecution(writer, venture);
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await gateway?.stop();
  await writer?.end();
  await database?.drop();
});

const post = (path: string, body: string, token?: string) => ask(gateway, path, token, { method: 'POST', body });
const names = (count: number) => Array.from({ length: count }, (_, index) => `"k${index}":0`).join(',');

test.each(['/v1/sse', '/v1/poll'])(
  'nobody known: %s reads 24 KiB of a body, and a command of 20 fields',
  async (path) => {
    const connecting = (more: string) => `[{"type":"connect","id":0,"protocol":1${more}}]`;
    expect(await post(path, connecting(`,${names(30)}`))).toMatchObject({
      status: 400,
      body: { error: { code: 'invalid_frame', message: expect.stringContaining('at most 20 fields') } },
    });
    // The answer is there although the rest of the body never comes.
    const begin = connecting(`,${names(5_000)}`).slice(0, 40 * KIB);
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${200 * KIB}\r\n\r\n`;
    expect(await talk(gateway.url, head + begin)).toMatch(/^HTTP\/1.1 401 .*"code":"unauthorized"/s);
  },
);

test('a body of a known client may be as long as before, wherever its token is', async () => {
  const subscribe = Array.from({ length: 100 }, (_, index) => ({
    type: 'subscribe',
    id: index + 1,
    channel: `message:${index}${'x'.repeat(400)}`,
  }));
  const body = (token?: string) => JSON.stringify([{ type: 'connect', id: 0, protocol: 1, token }, ...subscribe]);
  for (const answer of [await post('/v1/poll?wait=0', body(ann)), await post('/v1/poll?wait=0', body(), ann)]) {
    expect([answer.status, answer.body.frames[0].type]).toEqual([200, 'connected']);
  }
});

test('a client without the right to see an execution cannot make the gateway read a body for it', async () => {
  const head = `PATCH ${EXECUTIONS}/${execution}/logs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${eve}\r\n`;
  expect(await talk(gateway.url, `${head}Content-Length: 1000000\r\n\r\n{`)).toMatch(/^HTTP\/1.1 403 /);
});

test('I6: metadata and context have bounds of their own, by name', async () => {
  const large = { rows: 'x'.repeat(70 * KIB) };
  const create = await post(EXECUTIONS, JSON.stringify({ venture_id: venture, metadata: large }), ann);
  expect([create.status, JSON.stringify(create.body)]).toEqual([400, expect.stringContaining('body.metadata')]);
  const context = await ask(gateway, `${EXECUTIONS}/${execution}/logs`, ann, {
    method: 'PATCH',
    body: JSON.stringify({ message: 'x', context: large }),
  });
  expect(context.status).toBe(200);
});

test.each([
  ['names', 'PATCH', () => `{${names(90_000)}}`],
  ['rows', 'PATCH', () => `{"logs":[${Array(400_000).fill(0)}]}`],
  ['rows with names', 'PATCH', () => `{"logs":[${Array(900).fill(`{${names(100)}}`)}]}`],
  ['metadata', 'POST', () => `{"venture_id":"${venture}","metadata":{${names(90_000)}}}`],
])('I6: a refusal of a body with many %s is short', async (_, method, body) => {
  const path = method === 'POST' ? EXECUTIONS : `${EXECUTIONS}/${execution}/logs`;
  const answer = await ask(gateway, path, ann, { method, body: body() });
  expect([answer.status, answer.body.code]).toEqual([400, 'invalid_request']);
  expect(JSON.stringify(answer.body).length).toBeLessThan(100 * KIB);
});

test('I6: lists are cut by bytes, and nothing is left out over all pages', async () => {
  const other = await createVenture(writer, 'ann');
  await writer.query(
    `INSERT INTO agent_executions (venture_id, metadata)
     SELECT $1, jsonb_build_object('text', repeat(md5(n::text), 32000)) FROM generate_series(1, 10) n`,
    [other],
  );
  const seen: string[] = [];
  for (let cursor = '', pages = 0; pages < 10; pages += 1) {
    const { body } = await ask(gateway, `${EXECUTIONS}?venture_id=${other}&limit=100${cursor}`, ann);
    expect(JSON.stringify(body).length).toBeLessThan(1.2 * KIB * KIB);
    for (const { execution_id } of body.executions) seen.push(execution_id);
    if (!body.pagination.has_more) break;
    cursor = `&cursor=${body.pagination.next_cursor}`;
  }
  expect(new Set(seen).size).toBe(10);
  const { body } = await ask(gateway, `${EXECUTIONS}?ids=${seen.join(',')}`, ann);
  expect([body.executions.length + body.remaining.length, body.missing]).toEqual([10, []]);
  expect(body.remaining.length).toBeGreaterThan(0);
});

test('I6: polls, snapshots and reads of Durable Streams that are not read have one bound for a user', async () => {
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, message) SELECT $1, repeat('x', 6000000) FROM generate_series(1, 2)`,
    [execution],
  );
  const paths = [
    `/v1/poll?channel=execution:${execution}&since=start&wait=0`,
    `/v1/streams/execution/${execution}?offset=-1`,
    `/v1/rows/execution/${execution}`,
  ];
  const unread = async (path: string): Promise<number> => {
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    sockets.push(socket);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ann}\r\n\r\n`);
    let status = 0;
    socket.once('data', (data) => {
      status = Number(String(data).slice(9, 12));
      socket.pause();
    });
    await until(() => status > 0, { what: 'an answer' });
    return status;
  };
  const statuses: number[] = [];
  for (let index = 0; index < 8; index += 1) statuses.push(await unread(paths[index % 3] ?? ''));
  expect(statuses.slice(4)).toEqual([429, 429, 429, 429]);
  for (const socket of sockets.splice(0)) socket.destroy();
});

test('I6: a client that is not known is read one frame, and leaves a second after its time', async () => {
  const raw = await openRawWebSocket(gateway.url, () => {});
  const began = fairNow();
  const closed = new Promise<void>((resolve) => raw.socket.once('close', () => resolve()));
  const frame = encodeFrame(TEXT, Buffer.alloc(63 * KIB), { fin: false });
  raw.socket.write(Buffer.concat([frame, frame]));
  await closed;
  expect(fairNow() - began).toBeLessThan(1_900);
  const silent = await openRawWebSocket(gateway.url, () => {});
  await new Promise<void>((resolve) => silent.socket.once('close', () => resolve())); // it never answers the close frame
  expect(fairNow() - began).toBeLessThan(10_000);
});

test('I6: a message of too many fragments ends the connection', async () => {
  const raw = await openRawWebSocket(gateway.url, () => {});
  sockets.push(raw.socket);
  const fragments = Array.from({ length: 2_000 }, () => encodeFrame(0, Buffer.alloc(0), { fin: false }));
  raw.socket.write(Buffer.concat([encodeFrame(TEXT, Buffer.from('{'), { fin: false }), ...fragments]));
  expect(await raw.closed).toBe(1008);
});

test('a request that is being answered is not cut by connections that ask for nothing', async () => {
  const { port } = new URL(gateway.url);
  const silent = () => {
    const socket = connect(Number(port), '127.0.0.1')
      .on('error', () => {})
      .resume();
    sockets.push(socket);
    return socket;
  };
  const blocker = await connectWriter(database.url);
  await blocker.query('BEGIN');
  await blocker.query('SELECT FROM agent_executions WHERE execution_id = $1 FOR UPDATE', [execution]);
  const asked = ask(gateway, `${EXECUTIONS}/${execution}/logs`, ann, {
    method: 'PATCH',
    body: JSON.stringify({ message: 'in flight' }),
  });
  const waits = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
  await until(async () => (await writer.query(waits)).rowCount === 1, { what: 'the request to wait' });
  for (let index = 0; index < 2_100; index += 1) silent();
  await until(() => sockets.some(({ destroyed }) => destroyed), { what: 'the oldest to be closed' }).finally(() =>
    blocker.end(),
  );
  expect([200, 503]).toContain((await asked).status); // answered; 503 where the row was locked for too long
});

test('two Host headers are refused', async () => {
  const request = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: other.example\r\nConnection: close\r\n\r\n';
  expect(await talk(gateway.url, request)).toMatch(/^HTTP\/1.1 400/);
});

test('I5: what a refusal costs and says does not depend on whether there is a channel, or how long it is', async () => {
  await writer.query(`
    CREATE TABLE orders (order_id bigint NOT NULL, customer text NOT NULL);
    SELECT rowcast.attach('orders', 'order_id');
    ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    GRANT SELECT ON orders TO authenticated;
    CREATE POLICY own ON orders FOR SELECT TO authenticated USING (customer = rowcast.subject());
    INSERT INTO orders SELECT 1, 'large' FROM generate_series(1, 20000);
    INSERT INTO orders VALUES (2, 'ann'), (3, 'ann');
    INSERT INTO orders SELECT 3, 'other' FROM generate_series(1, 20);
    ANALYZE orders;
    -- With few channels PostgreSQL takes any condition on a channel for a large part of the table.
    CREATE TABLE few (key bigint NOT NULL, customer text NOT NULL);
    SELECT rowcast.attach('few', 'key');
    ALTER TABLE few ENABLE ROW LEVEL SECURITY;
    GRANT SELECT ON few TO authenticated;
    CREATE POLICY own ON few FOR SELECT TO authenticated USING (customer = (SELECT rowcast.subject()));
    INSERT INTO few SELECT 1, 'large' FROM generate_series(1, 1000);
    INSERT INTO few SELECT 2, 'large' FROM generate_series(1, 20000);
    ANALYZE few`);
  const decide = async (channel: string, subject: string) => {
    const claims = JSON.stringify({ sub: subject });
    const text = `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM rowcast.decide($1, $2, $3)`;
    const values = [['authenticated'], [claims], [channel]];
    // From the sixth time on PostgreSQL may use a plan that was made for no channel in particular.
    for (let time = 0; time < 7; time += 1) await writer.query(text, values);
    const { rows } = await writer.query(text, values);
    return rows[0]['QUERY PLAN'][0].Plan['Shared Hit Blocks'] as number;
  };
  const nothing = await decide('orders:99', 'eve');
  expect((await decide('orders:1', 'eve')) - nothing).toBeLessThan(40);
  for (const channel of ['few:1', 'few:2', 'few:99']) expect(await decide(channel, 'eve')).toBeLessThan(40);
  const read = (channel: string, token: string) =>
    ask(gateway, `/v1/poll?channel=${channel}&since=start&wait=0`, token).then(({ status }) => status);
  expect(await Promise.all(['orders:1', 'orders:99', 'orders:x'].map((channel) => read(channel, eve)))).toEqual([
    403, 403, 403,
  ]);
  // Its newest 20 rows decide: ann sees an older one of the third channel only.
  expect([await read('orders:2', ann), await read('orders:3', ann)]).toEqual([200, 403]);
});

test('I6: a slow policy delays the users that it is about, and no other', async () => {
  await writer.query(`
    CREATE FUNCTION public.slow_for_eve(key text) RETURNS boolean LANGUAGE plpgsql AS $$
      BEGIN
        IF rowcast.subject() = 'eve' THEN PERFORM pg_sleep(1.5); END IF;
        RETURN true;
      END $$;
    CREATE TABLE guarded (key text NOT NULL);
    SELECT rowcast.attach('guarded', 'key');
    SELECT rowcast.guard('guarded', 'slow_for_eve')`);
  const read = async (key: string, token: string) => {
    const began = fairNow();
    const { status } = await ask(gateway, `/v1/poll?channel=guarded:${key}&since=start&wait=0`, token);
    return { status, took: fairNow() - began };
  };
  await read('warm', ann);
  const slow = Array.from({ length: 4 }, (_, index) => read(`e${index}`, eve));
  const quick = await Promise.all(Array.from({ length: 4 }, (_, index) => read(`a${index}`, ann)));
  for (const { status, took } of quick) expect([status, took < 1_400]).toEqual([200, true]);
  expect((await Promise.all(slow)).every(({ status }) => status === 200)).toBe(true);
});

test('progress is folded from all rows, whichever request is first, and what was folded is right', async () => {
  const id = await createExecution(writer, venture);
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, context)
     SELECT $1, CASE WHEN n <= 3000 THEN 'task-assigned' ELSE 'task-completed' END,
            jsonb_build_object('step_id', 's' || (n - 1) % 3000, 'hidden', n % 2 = 0) FROM generate_series(1, 6000) n`,
    [id],
  );
  await writer.query(`CREATE POLICY hides ON agent_execution_logs AS RESTRICTIVE FOR SELECT TO authenticated
    USING ((context ->> 'hidden')::boolean IS NOT TRUE)`);
  try {
    const done = async (token: string) => {
      const { body } = await ask(gateway, `${EXECUTIONS}/${id}?logs=none`, token);
      return body.progress.steps.done;
    };
    const service = await tokenFor('svc', { role: 'service_role' });
    expect([await done(ann), await done(service)]).toEqual([3_000, 3_000]);
    const { body } = await ask(gateway, `${EXECUTIONS}/${id}/steps`, ann);
    expect(body.counts.done).toBe(3_000);
  } finally {
    await writer.query('DROP POLICY hides ON agent_execution_logs');
  }
});

test('claims that are nested too deeply are no internal error', async () => {
  let deep: unknown = 0;
  for (let level = 0; level < 2_400; level += 1) deep = [deep];
  const token = await tokenFor('ann', { deep }).catch(() => null);
  if (token !== null) expect((await ask(gateway, `${EXECUTIONS}/${execution}/status`, token)).status).not.toBe(500);
});
