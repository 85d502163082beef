import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { talk } from '../support/raw-http.js';
import { until } from '../support/until.js';

/** How long the gateway waits for a whole request, in milliseconds. */
const PATIENCE = 500;

let database: TestDatabase;
let gateway: Gateway;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_CONNECT_TIMEOUT: `${PATIENCE}` });
});
afterAll(async () => {
  await gateway?.stop();
  await database?.drop();
});

const HEAD = 'Host: localhost\r\n';

/** The status, the code and whether the socket is over, of an answer that is the last on its connection. */
function lastAnswer(answer: string): { status: number; code: string | undefined } {
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  expect(head).toContain('Connection: close');
  expect(head).toContain('Content-Type: application/json');
  expect(head).toContain(`Content-Length: ${Buffer.byteLength(body)}`);
  const { error } = JSON.parse(body) as { error: { code: string; message: string } };
  expect(error.message).not.toBe('');
  return { status: Number(head.split(' ')[1]), code: error.code };
}

/** Sends a piece now and then, for ever, or until the other side has closed; and gives all that came back. */
async function dribble(first: string, piece: string): Promise<{ answer: string; ms: number }> {
  const { hostname, port } = new URL(gateway.url);
  const socket: Socket = connect(Number(port), hostname);
  const began = performance.now();
  let answer = '';
  socket.on('data', (data) => {
    answer += data;
  });
  socket.on('error', () => {});
  socket.write(first);
  const timer = setInterval(() => socket.write(piece), 20);
  const enough = setTimeout(() => socket.destroy(), 10 * PATIENCE);
  await new Promise((resolve) => socket.on('close', resolve));
  clearInterval(timer);
  clearTimeout(enough);
  return { answer, ms: performance.now() - began };
}

test.each([
  ['headers', `GET /healthz HTTP/1.1\r\n${HEAD}`, 'X-Slow: 1\r\n'],
  ['the headers of an upgrade', `GET /v1/ws HTTP/1.1\r\n${HEAD}Upgrade: websocket\r\n`, 'X-Slow: 1\r\n'],
  ['a body', `POST /v1/poll HTTP/1.1\r\n${HEAD}Content-Length: 100000\r\n\r\n`, ' '],
  ['a body in chunks', `POST /v1/poll HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n`, '1\r\n \r\n'],
  ['a body nobody wants', `POST /v1/channels HTTP/1.1\r\n${HEAD}Content-Length: 100000\r\n\r\n`, ' '],
])('I6: %s that come slowly, but keep coming, are given up', async (_, first, piece) => {
  const { answer, ms } = await dribble(first, piece);
  // Where the answer did not need the body it is there already, and the connection ends all the same.
  if (/^HTTP\/1.1 404/.test(answer)) expect(answer.split('HTTP/1.1')).toHaveLength(2);
  else expect(lastAnswer(answer)).toEqual({ status: 408, code: 'connect_timeout' });
  expect(ms).toBeGreaterThan(PATIENCE - 50);
  expect(ms).toBeLessThan(10 * PATIENCE);
});

const headers = (count: number) => Array.from({ length: count }, (_, index) => `X-${index}: 1\r\n`).join('');
const upgrade = `GET /v1/ws HTTP/1.1\r\n${HEAD}Connection: Upgrade\r\nUpgrade: websocket\r\n`;

test.each([
  ['large headers', `GET /healthz HTTP/1.1\r\n${HEAD}X: ${'x'.repeat(33_000)}\r\n\r\n`],
  ['headers that never end', `GET /healthz HTTP/1.1\r\n${HEAD}X: ${'x'.repeat(3_000_000)}`],
  ['a long address', `GET /healthz?${'x'.repeat(33_000)} HTTP/1.1\r\n${HEAD}\r\n`],
  ['many headers', `GET /healthz HTTP/1.1\r\n${HEAD}${headers(100)}\r\n`],
  ['many headers of an upgrade', `${upgrade}${headers(100)}\r\n`],
])('I6: %s are refused, and the client can read why', async (_, request) => {
  expect(lastAnswer(await talk(gateway.url, request))).toEqual({ status: 431, code: 'frame_too_large' });
});

test('headers as many as there may be are heard, the last one too', async () => {
  const answer = await talk(gateway.url, `GET /healthz HTTP/1.1\r\n${HEAD}${headers(98)}Connection: close\r\n\r\n`);
  expect(answer).toMatch(/^HTTP\/1.1 200 /);
});

test.each([
  ['says so', (body: string) => `Content-Length: ${body.length}\r\n\r\n${body}`],
  [
    'does not',
    (body: string) => `Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
  ],
])('I6: a body that is too large and %s is refused', async (_, form) => {
  const body = 'x'.repeat(5 * 65_536);
  const answer = await talk(gateway.url, `POST /v1/poll HTTP/1.1\r\n${HEAD}Connection: close\r\n${form(body)}`);
  expect(answer).toMatch(/^HTTP\/1.1 413 .*"code":"frame_too_large"/s);
});

test('a body that is packed is not unpacked', async () => {
  const answer = await fetch(`${gateway.url}/v1/poll`, {
    method: 'POST',
    headers: { 'content-encoding': 'gzip' },
    body: 'x',
  });
  expect([answer.status, await answer.json()]).toMatchObject([400, { error: { code: 'invalid_frame' } }]);
});

test.each([
  ['two lengths', `POST /v1/poll HTTP/1.1\r\n${HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx`],
  ['a length and chunks', `POST / HTTP/1.1\r\n${HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['a header without a name', `GET /healthz HTTP/1.1\r\n${HEAD} : x\r\n\r\n`],
  ['a line feed alone', `GET /healthz HTTP/1.1\nHost: localhost\n\n`],
  ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n'],
])('what a proxy in front could read in another way is no request: %s', async (_, request) => {
  const answer = await talk(gateway.url, `${request}GET /v1/channels HTTP/1.1\r\n${HEAD}\r\n`);
  expect(lastAnswer(answer)).toEqual({ status: 400, code: 'invalid_frame' });
});

test('requests that come before the answer are answered in their order, and limited one by one', async () => {
  const strict = await startTestGateway(database.url, {
    ROWCAST_ADDRESS_REQUEST_RATE: '5',
    ROWCAST_CONNECT_TIMEOUT: `${PATIENCE}`,
  });
  const path = (index: number) => (index % 10 === 9 ? '/healthz' : '/v1/channels');
  const requests = Array.from({ length: 100 }, (_, index) => `GET ${path(index)} HTTP/1.1\r\n${HEAD}\r\n`).join('');
  const answer = await talk(strict.url, `${requests}GET /healthz HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`);
  await strict.stop();
  const statuses = [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status));
  expect(statuses).toHaveLength(101);
  expect(statuses.filter((_, index) => path(index) === '/healthz' || index === 100)).toEqual(Array(11).fill(200));
  expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(70);
});

test('I6: of the requests in one packet one is handled at a time, and too many end the connection', async () => {
  const { hostname, port } = new URL(gateway.url);
  const [many, one] = [connect(Number(port), hostname), connect(Number(port), hostname)];
  for (const socket of [many, one]) socket.on('error', () => {});
  let answers = 0;
  many.on('data', (data) => {
    answers += String(data).split('HTTP/1.1 200').length - 1;
  });
  const before = new Promise<number>((resolve) => one.once('data', () => resolve(answers)));
  const request = `GET /healthz HTTP/1.1\r\n${HEAD}\r\n`;
  many.write(request.repeat(100));
  one.write(request);
  expect(await before).toBeLessThan(100);
  await until(() => answers === 100, { what: 'all answers' });
  const ended = new Promise((resolve) => many.once('close', resolve));
  many.write(request.repeat(1_000));
  await ended;
  expect(answers).toBeLessThan(250);
  one.destroy();
});

test('a connection is kept for the next request, and what cannot be read behind an answer that goes on ends it', async () => {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  let heard = '';
  socket.on('data', (data) => {
    heard += data;
  });
  socket.on('error', () => {});
  const ended = new Promise((resolve) => socket.on('close', resolve));
  for (const count of [1, 2]) {
    socket.write(`GET /healthz HTTP/1.1\r\n${HEAD}\r\n`);
    await until(() => heard.split('"status":"ok"').length === count + 1, { what: 'the answer' });
  }
  socket.write(`GET /v1/sse?channel=message:x HTTP/1.1\r\n${HEAD}\r\n`);
  await until(() => heard.includes('"subscribed"'), { what: 'the stream' });
  socket.write('nonsense\r\n\r\n');
  await ended;
  expect(heard).not.toContain('HTTP/1.1 400'); // it would stand in the middle of the stream
});
