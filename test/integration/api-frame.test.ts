import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { errors } from '../../client/protocol/index.js';
import type { Gateway } from '../../server/gateway.js';
import { Delivery } from '../../server/limits/delivery.js';
import { ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { startLoggingGateway } from '../support/log-lines.js';
import { until } from '../support/until.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Pool;
let ann: string;
let id: string;
let venture: string;
const lines: string[] = [];
beforeAll(async () => {
  database = await createDatabase();
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  gateway = await startLoggingGateway(database.url, { ROWCAST_JWT_SECRET: JWT_SECRET }, lines);
  ann = await tokenFor('ann');
  venture = await createVenture(writer, 'ann');
  id = await createExecution(writer, venture);
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

const EXECUTIONS = '/api/agents/executions';
const LOGS = '/api/agents/execution-logs';
const NOBODY = '00000000-0000-4000-8000-00000000dead';

const wrong = {
  [`${EXECUTIONS}/nonsense`]: 'path.execution_id',
  [`${EXECUTIONS}/${NOBODY}/status?verbose=1`]: 'query',
  [`${EXECUTIONS}/${NOBODY}?logs=1001`]: 'query.logs',
  [`${EXECUTIONS}/${NOBODY}?logs=0`]: 'query.logs',
  [`${EXECUTIONS}/${NOBODY}?since=now`]: 'query.since',
  [`${EXECUTIONS}/${NOBODY}?since=1&since=2`]: 'query.since',
  [`${EXECUTIONS}/${NOBODY}?logs=none&since=1`]: 'query.since',
  [`${EXECUTIONS}`]: 'query.venture_id',
  [`${EXECUTIONS}?venture_id=${NOBODY}&ids=${NOBODY}`]: 'query.venture_id',
  [`${EXECUTIONS}?ids=${Array(101).fill(NOBODY)}`]: 'query.ids',
  [`${EXECUTIONS}?ids=${NOBODY},x`]: 'query.ids.1',
  [`${EXECUTIONS}?ids=${NOBODY}&status=running`]: 'query.ids',
  [`${EXECUTIONS}?venture_id=${NOBODY}&status=asleep`]: 'query.status.0',
  [`${EXECUTIONS}/${NOBODY}/metrics?limit=1e9`]: 'query.limit',
  [`${EXECUTIONS}/${NOBODY}/metrics?limit=1e1`]: 'query.limit',
  [`${EXECUTIONS}/${NOBODY}/metrics?limit=%201`]: 'query.limit',
  [`${EXECUTIONS}/${NOBODY}/metrics?limit=${'9'.repeat(17)}`]: 'query.limit',
  [`${EXECUTIONS}?venture_id=${NOBODY}&limit=0x10`]: 'query.limit',
  [`${EXECUTIONS}?venture_id=${NOBODY}&limit=`]: 'query.limit',
  [`${EXECUTIONS}/${NOBODY}/metrics?name=`]: 'query.name',
  [`${LOGS}/${NOBODY}?limit=0`]: 'query.limit',
  [`${LOGS}/${NOBODY}?limit=many`]: 'query.limit',
  [`${LOGS}/${NOBODY}?offset=-1`]: 'query.offset',
  [`${LOGS}/${NOBODY}?level=fatal`]: 'query.level.0',
  [`${LOGS}/${NOBODY}?date_range=yesterday`]: 'query.date_range',
  [`${LOGS}/${NOBODY}?date_range=2026-02-31..`]: 'query.date_range',
  [`${LOGS}/${NOBODY}?date_range=0000-01-01..`]: 'query.date_range',
  [`${LOGS}/${NOBODY}?date_range=2026-01-01T00:00:00%2B16:00..`]: 'query.date_range',
  [`${LOGS}/${NOBODY}?date_range=2026-01-01..2026-01-01`]: 'query.date_range',
  [`${LOGS}/${NOBODY}?date_range=2026-01-01T01:00:00.5%2B01:00..2026-01-01T00:00:00.50Z`]: 'query.date_range',
  [`${LOGS}/${NOBODY}?date_range=2026-01-01T00:00:00.000002Z..2026-01-01T00:00:00.000001Z`]: 'query.date_range',
  [`${LOGS}/${NOBODY}?q=${'x'.repeat(201)}`]: 'query.q',
  [`${LOGS}/${NOBODY}?q=a%00b`]: 'query.q',
  [`${EXECUTIONS}/${NOBODY}/metrics?name=%00`]: 'query.name',
  [`${LOGS}/${NOBODY}?cursor=nonsense`]: 'query.cursor',
  [`${LOGS}/${NOBODY}?cursor=${Buffer.from('["2026-02-31T00:00:00Z","x"]').toString('base64url')}`]: 'query.cursor',
};

test.each(Object.entries(wrong))('%s is refused for %s', async (path, fault) => {
  const { status, headers, body } = await ask(gateway, path, ann);
  expect([status, body.code]).toEqual([400, 'invalid_request']);
  expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(body.errors.map((each: { path: string }) => each.path)).toEqual([fault]);
});

const forged = (at: string) => `cursor=${Buffer.from(JSON.stringify([at, NOBODY])).toString('base64url')}`;

test.each([
  `${forged('0000-01-01T00:00:00+00:00')}`,
  `${forged('2026-13-01T00:00:00+00:00')}`,
  `${forged('999999-01-01T00:00:00+00:00')}`,
  `${forged('9999-01-01T00:00:00+00:00 BC')}`,
])('a time that PostgreSQL does not know is no fault of the gateway: %s', async (query) => {
  const paths = [`${LOGS}/${venture}`, `${EXECUTIONS}?venture_id=${venture}`, `${EXECUTIONS}/${id}/metrics`];
  for (const each of paths) {
    const path = `${each}${each.includes('?') ? '&' : '?'}${query}`;
    const { status, body } = await ask(gateway, path, ann);
    expect([path, status, body.code]).toEqual([path, 400, 'invalid_request']);
  }
});

test.each([
  ['unknown_execution', 404, `${EXECUTIONS}/${NOBODY}`],
  ['unknown_execution', 404, `${EXECUTIONS}/${NOBODY}/status`],
  ['unknown_execution', 404, `${EXECUTIONS}/${NOBODY}/steps`],
  ['unknown_execution', 404, `${EXECUTIONS}/${NOBODY}/metrics`],
  ['unknown_venture', 404, `${EXECUTIONS}?venture_id=${NOBODY}`],
  ['unknown_venture', 404, `${LOGS}/${NOBODY}`],
  ['not_found', 404, '/api/agents'],
  ['not_found', 404, '/api'],
  ['not_found', 404, `/API${EXECUTIONS.slice(4)}/${NOBODY}`],
  ['not_found', 404, `${EXECUTIONS}/`],
  ['invalid_request', 400, `${EXECUTIONS}/%ff`],
] as const)('%s: %i for %s', async (code, status, path) => {
  const answer = await ask(gateway, path, ann);
  expect(answer.body).toMatchObject({
    type: `urn:rowcast:error:${code}`,
    title: errors[code].meaning,
    status,
    code,
    request_id: answer.headers.get('x-request-id'),
  });
  expect([answer.status, answer.headers.get('cache-control')]).toEqual([status, 'no-store']);
});

test('without a token 401, with that of a stranger 403, on every path', async () => {
  const bob = await tokenFor('bob');
  const parts = ['', '/status', '/steps', '/metrics'].map((part) => `${EXECUTIONS}/${id}${part}`);
  for (const path of [...parts, `${EXECUTIONS}?venture_id=${venture}`, `${LOGS}/${venture}`]) {
    const codes = [undefined, 'nonsense', bob, ann].map(async (token) => {
      const { status, body } = await ask(gateway, path, token);
      return `${status} ${body.code ?? 'in'}`;
    });
    const expected = ['401 unauthorized', '401 unauthorized', '403 forbidden', '200 in'];
    expect([path, await Promise.all(codes)]).toEqual([path, expected]);
  }
});

test('a method that a path does not have is told which it has', async () => {
  const { status, headers, body } = await ask(gateway, `${EXECUTIONS}/${id}/status`, ann, { method: 'DELETE' });
  expect([status, headers.get('allow'), body.code]).toEqual([405, 'GET, HEAD, OPTIONS', 'method_not_allowed']);
});

test('the id of a request is in its answer and in every line of the log about it, and a bad one is replaced', async () => {
  const asking = async (path: string, given: string) => {
    const { headers } = await ask(gateway, path, ann, { headers: { 'X-Request-Id': given } });
    return headers.get('x-request-id') ?? '';
  };
  expect(await asking(`${EXECUTIONS}/${id}/status`, 'my-page.17')).toBe('my-page.17');
  expect(await asking('/api/nothing', 'my-page.18')).toBe('my-page.18');
  for (const bad of ['x'.repeat(65), 'a b', 'ä']) {
    expect(await asking(`${EXECUTIONS}/${id}`, bad)).toMatch(/^[0-9a-f-]{36}$/);
  }
  await writer.query('ALTER TABLE execution_metrics RENAME TO hidden');
  try {
    expect(await asking(`${EXECUTIONS}/${id}/metrics`, 'my-page.19')).toBe('my-page.19');
    const { status, body } = await ask(gateway, `${EXECUTIONS}/${id}/metrics`, ann);
    expect([status, body.code, body.detail]).toEqual([500, 'internal', errors.internal.meaning]);
  } finally {
    await writer.query('ALTER TABLE hidden RENAME TO execution_metrics');
  }
  const about = (request: string) =>
    lines.map((line) => JSON.parse(line)).filter((line) => line.request_id === request);
  expect(about('my-page.17')).toMatchObject([{ operation: 'getStatus', status: 200 }]);
  expect(about('my-page.19')).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ msg: 'a request failed' }),
      expect.objectContaining({ status: 500 }),
    ]),
  );
});

test('the document and its page need no token, and nothing from elsewhere', async () => {
  const page = await fetch(`${gateway.url}/api/docs`);
  const html = await page.text();
  const named = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path = '']) => path);
  expect(named.length).toBe(4);
  for (const path of ['/api/openapi.json', ...named]) {
    expect(path).toMatch(/^\/api\//);
    expect([path, (await fetch(`${gateway.url}${path}`)).status]).toEqual([path, 200]);
  }
  expect(html).not.toMatch(/<script>/);
});

/** Asks and reads nothing of the answer; resolves when it has begun. */
async function askUnread(port: number, head: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(`GET ${head}\r\nHost: x\r\n\r\n`);
  await once(socket, 'readable');
  return socket;
}

test('I6: a client that does not read large answers gets no more of them, and others do', async () => {
  const own = await createVenture(writer, 'ann', 'bob');
  const large = await createExecution(writer, own);
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, context) VALUES ($1, jsonb_build_object('text', repeat('x', 12000000)))`,
    [large],
  );
  const path = `${EXECUTIONS}/${large}?since=1`;
  const head = `${path} HTTP/1.1\r\nAuthorization: Bearer ${ann}`;
  const unread: Socket[] = [];
  for (let n = 0; n < 2; n++) unread.push(await askUnread(Number(new URL(gateway.url).port), head));
  try {
    const { status, headers, body } = await ask(gateway, path, ann);
    expect([status, body.code, headers.get('retry-after'), headers.get('etag')]).toEqual([
      429,
      'rate_limited',
      '1',
      null,
    ]);
    expect((await ask(gateway, `${EXECUTIONS}/${large}/status`, ann)).status).toBe(200);
    expect((await ask(gateway, path, await tokenFor('bob'))).status).toBe(200);
  } finally {
    for (const socket of unread) socket.destroy();
  }
  const again = async () => (await ask(gateway, path, ann)).status === 200;
  await until(again, { what: 'the answers to be given up' });
});

test('I6: answers of all together have a bound, and a deadline to be taken by', async () => {
  const delivery = new Delivery({ small: 10, ofOne: 2e7, ofAll: 2e7, readTimeout: 1_000 });
  const server = createServer((request, response) => {
    const body = Buffer.alloc(request.url === '/small' ? 10 : 2e7);
    try {
      delivery.refuse(body.length, request.headers.host ?? '');
      delivery.give(response, body.length, request.headers.host ?? '');
      response.end(body);
    } catch (error) {
      response.writeHead(429).end(String(error));
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const status = async (path: string) => {
    const response = await fetch(`http://localhost:${port}${path}`);
    const whole = await response.arrayBuffer().catch(() => null); // on a slow machine this one may be given up as well
    return whole === null ? 0 : response.status;
  };
  const begun = performance.now();
  const late = await askUnread(port, '/ HTTP/1.1');
  expect([await status('/small'), await status('/')]).toEqual([200, 429]);
  await until(async () => (await status('/')) === 200, { what: 'the answer to be given up' });
  expect(performance.now() - begun).toBeGreaterThan(900);
  late.destroy();
  server.close();
  server.closeAllConnections();
});

test('I6: the answer for a client that has left meanwhile keeps nothing waiting', async () => {
  const delivery = new Delivery({ small: 10, ofOne: 100, ofAll: 100 });
  const body = Buffer.alloc(1_000);
  let given: () => void = () => {};
  const late = new Promise<void>((resolve) => {
    given = resolve;
  });
  const server = createServer((_request, response) => {
    response.once('close', () => {
      delivery.give(response, body.length, 'ann');
      response.end(body);
      given();
    });
    response.socket?.destroy();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await expect(fetch(`http://localhost:${port}/`)).rejects.toThrow();
  await late;
  expect(() => delivery.refuse(body.length, 'ann')).not.toThrow();
  server.close();
});
