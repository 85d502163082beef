import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { ask, poll, pollAddress } from '../support/poll.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

const publish = (channel: string) => writer.query(`SELECT rowcast.publish($1, 'note')`, [channel]);

test('requests that come too often are told when to come back', async () => {
  const curt = await startTestGateway(database.url, { ROWCAST_ADDRESS_POLL_RATE: '1' });
  const answers = await Promise.all(Array.from({ length: 5 }, () => poll(curt.url, [['message:t', 'now']], 0)));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429, 429, 429]);
  const retry = answers.flatMap(({ headers }) => headers.get('retry-after') ?? []).map(Number);
  expect(retry).toHaveLength(3);
  expect(Math.min(...retry)).toBeGreaterThan(0);
  await curt.stop();
});

const connect = { type: 'connect', id: 1, protocol: 1 };

test.each(['text/plain', 'application/json', 'text/plain;charset=UTF-8'])('commands in a body of %s', async (type) => {
  const body = JSON.stringify([
    connect,
    { type: 'subscribe', id: 2, channel: 'message:ü', since: 'start' },
    { type: 'ping', id: 3 },
  ]);
  const answer = await ask(`${gateway.url}/v1/poll?wait=5`, {
    method: 'POST',
    headers: { 'content-type': type },
    body,
  });
  expect(answer.status).toBe(200);
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.frames).toMatchObject([
    { type: 'connected', id: 1, session: expect.any(String), heartbeat: 25_000 },
    { type: 'pong', id: 3 },
    { type: 'subscribed', id: 2, channel: 'message:ü', head: 0, floor: 1 },
  ]);
  expect(answer.positions).toEqual({ 'message:ü': expect.stringMatching(/^\w+\.0$/) });
});

test('the heartbeat of a poll is longer than what it waits', async () => {
  const answer = await ask(`${gateway.url}/v1/poll?wait=60`, {
    method: 'POST',
    body: JSON.stringify([connect, { type: 'ping', id: 2 }]),
  });
  expect(answer.frames[0]).toMatchObject({ type: 'connected', heartbeat: 180_000 });
});

test('commands that are refused are answered one by one, with status 200', async () => {
  await publish('message:good');
  const body = JSON.stringify([
    connect,
    { type: 'subscribe', id: 2, channel: 'nowhere:x' },
    { type: 'subscribe', id: 3, channel: 'message:good', since: 'start' },
    { type: 'nonsense', id: 4 },
    { type: 'subscribe', id: 5 },
  ]);
  const { status, frames, positions } = await ask(`${gateway.url}/v1/poll`, { method: 'POST', body });
  expect(status).toBe(200);
  const codes = frames.map(({ id, code, type }) => `${id} ${code ?? type}`).sort();
  expect(codes).toEqual([
    '1 connected',
    '2 unknown_channel',
    '3 subscribed',
    '4 unknown_type',
    '5 invalid_frame',
    'undefined events',
  ]);
  expect(Object.keys(positions)).toEqual(['message:good']);
});

test.each<[string, RequestInit, number, string]>([
  ['is too large', { body: 'x'.repeat(300_000) }, 413, 'frame_too_large'],
  ['is not JSON', { body: '[{' }, 400, 'invalid_json'],
  ['is not there', {}, 400, 'invalid_json'],
  ['is no list', { body: '{"type":"connect"}' }, 400, 'invalid_frame'],
  ['is empty', { body: '[]' }, 400, 'invalid_frame'],
  ['has what is no command', { body: '[1]' }, 400, 'invalid_frame'],
  ['is deflated', { body: 'x', headers: { 'content-encoding': 'deflate' } }, 400, 'invalid_frame'],
  ['is of no charset', { body: '[]', headers: { 'content-type': 'text/plain;charset=x-none' } }, 400, 'invalid_frame'],
])('a body that %s', async (_, init, status, code) => {
  for (const path of ['/v1/poll', '/v1/sse', '/v1/commands']) {
    const answer = await ask(`${gateway.url}${path}`, { method: 'POST', ...init });
    expect([path, answer.status, JSON.parse(answer.text)]).toEqual([
      path,
      status,
      { error: { code, message: expect.any(String) } },
    ]);
  }
});

test.each([
  ['', 400, 'invalid_frame'],
  ['?channel=message:a&wait=61', 400, 'invalid_frame'],
  ['?channel=message:a&wait=-1', 400, 'invalid_frame'],
  ['?channel=message:a&wait=soon', 400, 'invalid_frame'],
  ['?channel=message:a&since=1&since=2', 400, 'invalid_frame'],
  ['?channel=message:a&since=%ff', 400, 'invalid_frame'],
  ['?channel=nowhere:a', 404, 'unknown_channel'],
  ['?channel=lobby', 400, 'invalid_channel'],
])('GET /v1/poll%s is refused with %i %s', async (query, status, code) => {
  const answer = await ask(`${gateway.url}/v1/poll${query}`);
  expect([answer.status, JSON.parse(answer.text)]).toMatchObject([status, { error: { code } }]);
  expect(answer.headers.get('cache-control')).toBe('no-store');
});

test.each<[method: string, at: string, message: string]>([
  [
    'GET',
    '/v1/poll?channel=message:a&sinse=2',
    'unknown parameter "sinse": expected channel, since, ticket, session, wait',
  ],
  [
    'GET',
    '/v1/sse?channel=message:a&sinse=2',
    'unknown parameter "sinse": expected channel, since, ticket, session, lastEventId',
  ],
  [
    'GET',
    '/v1/sse?channel=message:a&wait=2',
    'unknown parameter "wait": expected channel, since, ticket, session, lastEventId',
  ],
  ['POST', '/v1/poll?wiat=0', 'unknown parameter "wiat": expected session, wait'],
  ['POST', '/v1/sse?channel=message:a', 'unknown parameter "channel": expected session'],
  ['GET', '/v1/poll?channel=message:a&wait=soon', 'wait: 0 to 60 seconds'],
  ['POST', '/v1/poll?wait=-1.5', 'wait: 0 to 60 seconds'],
  ['GET', '/v1/sse?channel=message:a&session=a%20b', 'session: 1 to 64 letters, digits, _ or -'],
  ['POST', '/v1/sse?session=', 'session: 1 to 64 letters, digits, _ or -'],
])('%s %s is told what is wrong', async (method, at, message) => {
  const body = method === 'POST' ? { body: JSON.stringify([connect]) } : {};
  const { status, text } = await ask(`${gateway.url}${at}`, { method, ...body, signal: AbortSignal.timeout(3_000) });
  expect([status, JSON.parse(text)]).toEqual([400, { error: { code: 'invalid_frame', message } }]);
});

test.each([
  ['/v1/sse', 'GET, POST', ['HEAD', 'PUT', 'DELETE']],
  ['/v1/poll', 'GET, POST', ['HEAD', 'PUT', 'DELETE']],
  ['/v1/commands', 'POST', ['GET', 'HEAD', 'PUT']],
  ['/v1/streams/message/a', 'GET, HEAD', ['POST', 'PUT', 'DELETE']],
])('%s has the methods %s, and says so', async (path, allowed, others) => {
  for (const method of others) {
    const { status, headers, text } = await ask(`${gateway.url}${path}?channel=message:a`, { method });
    expect([method, status, headers.get('allow')]).toEqual([method, 405, allowed]);
    if (method !== 'HEAD') expect(JSON.parse(text).error.code).toBe('method_not_allowed');
  }
});

test('a channel that is refused is told of, and the others are answered', async () => {
  await publish('message:fine');
  const address = pollAddress(
    gateway.url,
    [
      ['nowhere:x', 'start'],
      ['message:fine', 'start'],
    ],
    5,
  );
  const { frames, positions, headers } = await ask(address);
  expect(frames.map(({ type, id, code, channel }) => [type, id ?? channel, code]).sort()).toEqual([
    ['error', 1, 'unknown_channel'],
    ['events', 'message:fine', undefined],
  ]);
  expect(Object.keys(positions)).toEqual(['message:fine']);
  expect(headers.get('etag')).toBeNull();
});
