import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import express, { type ErrorRequestHandler, type RequestHandler } from 'express';
import type pg from 'pg';
import type { Frame } from '../../client/protocol/index.js';
import { type DurableStreamOptions, durableStreamRoutes } from '../../server/durable-streams/routes.js';
import type { Gateway } from '../../server/gateway.js';
import type { Refusal } from '../../server/ground/refusal.js';
import { type EventsFrame, eventsFrame } from '../../server/ports/events-frame.js';
import { SseTransport } from '../../server/transport/sse.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { metricOf } from '../support/metrics.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  await writer.query(`CREATE TABLE orders (customer text NOT NULL, note json);
                      SELECT rowcast.attach('orders', 'customer')`);
  gateway = await startTestGateway(database.url, NO_RATES, { pageRows: 5, pageBytes: 1_024 });
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

const urlOf = (customer: string, query = '') => `${gateway.url}/v1/streams/orders/${customer}${query}`;
const order = (customer: string, count: number, note = '1') =>
  writer.query('INSERT INTO orders SELECT $1, $2::json FROM generate_series(1, $3::int)', [customer, note, count]);

const offsetOf = (response: Response) => response.headers.get('Stream-Next-Offset') ?? '';
const isUpToDate = (response: Response) => response.headers.get('Stream-Up-To-Date') === 'true';
const codeOf = async (response: Response) => ((await response.json()) as { error: { code: string } }).error.code;

/** What an event stream has sent so far, and whether it is over. */
async function listen(url: string) {
  const leaving = new AbortController();
  const response = await fetch(url, { signal: leaving.signal });
  const heard = { text: '', over: false };
  const read = async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) heard.text += decoder.decode(chunk, { stream: true });
  };
  read().then(
    () => {
      heard.over = true;
    },
    () => {},
  );
  return { response, heard, leave: () => leaving.abort() };
}

test('an answer is full or reaches the tail, and a full one that was asked for by offset may be kept', async () => {
  await order('ann', 40, `"${'x'.repeat(100)}"`);
  const first = await fetch(urlOf('ann'));
  const rows = (await first.json()) as unknown[];
  expect(rows.length).toBeGreaterThan(5);
  expect(rows.length).toBeLessThan(40);
  expect([isUpToDate(first), first.headers.get('Cache-Control')]).toEqual([false, 'private, no-cache']);

  const second = await fetch(urlOf('ann', `?offset=${offsetOf(first)}`));
  await second.arrayBuffer();
  expect([isUpToDate(second), second.headers.get('Cache-Control')]).toEqual([
    false,
    'private, max-age=31536000, immutable',
  ]);

  const again = async (known: string) =>
    (await fetch(urlOf('ann', `?offset=${offsetOf(first)}`), { headers: { 'If-None-Match': known } })).status;
  expect([await again(`"other", ${second.headers.get('ETag')}`), await again('"other"')]).toEqual([304, 200]);

  let last = second;
  while (!isUpToDate(last)) {
    last = await fetch(urlOf('ann', `?offset=${offsetOf(last)}`));
    await last.arrayBuffer();
  }
  expect(last.headers.get('Cache-Control')).toBe('private, no-cache');
  const head = await fetch(urlOf('ann'), { method: 'HEAD' });
  expect([offsetOf(head), head.headers.get('Cache-Control')]).toEqual([offsetOf(last), 'no-store']);
});

test('what is committed is read at once, also where the gateway keeps the channel', async () => {
  const staying = await listen(urlOf('bea', '?offset=now&live=sse'));
  for (let count = 1; count <= 30; count += 1) {
    await order('bea', 1);
    const response = await fetch(urlOf('bea', '?offset=now'));
    expect(await response.text()).toBe('[]');
    expect(Number(offsetOf(response).split('_')[1])).toBe(count);
  }
  staying.leave();
});

test('I2: a place that cannot be served is 410 in every way of reading, and the start is where events begin', async () => {
  await order('cleo', 4);
  const head = await fetch(urlOf('cleo'), { method: 'HEAD' });
  const ahead = offsetOf(head).replace(/4$/, '5');
  const old = offsetOf(head).replace(/4$/, '1');
  const other = offsetOf(head).replace(/^[^_]+/, 'other');
  await writer.query(`DELETE FROM orders WHERE customer = 'cleo' AND seq <= 3`);
  for (const offset of [ahead, old, other]) {
    for (const live of ['', '&live=long-poll', '&live=sse']) {
      const response = await fetch(urlOf('cleo', `?offset=${offset}${live}`));
      expect([offset, live, response.status, await codeOf(response)]).toEqual([offset, live, 410, 'position_gone']);
    }
  }
  const start = await fetch(urlOf('cleo', '?offset=-1'));
  expect([((await start.json()) as unknown[]).length, isUpToDate(start)]).toEqual([1, true]);
});

test('I2: an event stream whose numbering is lost ends, and who comes back hears why', async () => {
  await order('dora', 2);
  const { response, heard } = await listen(urlOf('dora', '?offset=-1&live=sse'));
  expect(response.headers.get('Content-Type')).toBe('text/event-stream');
  await until(() => heard.text.includes('"upToDate":true'), { what: 'the control event' });
  await writer.query(`SELECT rowcast.new_epoch('orders')`);
  await until(() => heard.over, { what: 'the end of the stream' });
  const [, offset] = /"streamNextOffset":"([^"]+)"/.exec(heard.text) ?? [];
  expect((await fetch(urlOf('dora', `?offset=${offset}&live=sse`))).status).toBe(410);
});

test('rows that are written on several lines are one event, and are read as they are', async () => {
  await order('eve', 1, '{"a":\r\n[1,\n2]}');
  const { heard, leave } = await listen(urlOf('eve', '?offset=-1&live=sse'));
  await until(() => heard.text.includes('"upToDate":true'), { what: 'the control event' });
  leave();
  const [, data = ''] = /event: data\n((?:data:.*\n)+)\n/.exec(heard.text) ?? [];
  expect(JSON.parse(data.replace(/^data:/gm, ''))).toEqual([{ customer: 'eve', note: { a: [1, 2] } }]);
});

test('a long poll is over when its time is, or at once when an event is there', async () => {
  await order('fay', 1);
  const head = await fetch(urlOf('fay'), { method: 'HEAD' });
  const nothing = await fetch(urlOf('fay', `?offset=${offsetOf(head)}&live=long-poll&timeout=0.1`));
  expect([nothing.status, offsetOf(nothing), isUpToDate(nothing)]).toEqual([204, offsetOf(head), true]);
  expect(nothing.headers.get('Cache-Control')).toBe('no-store');

  const waiting = fetch(urlOf('fay', `?offset=${offsetOf(head)}&live=long-poll&timeout=60`));
  await order('fay', 1, '2');
  expect(await (await waiting).json()).toEqual([{ customer: 'fay', note: 2 }]);
});

test('what is wrong is refused with a code of the table', async () => {
  const refused = async (url: string, init?: RequestInit) => {
    const response = await fetch(url, init);
    expect(response.headers.get('X-Content-Type-Options')).toBe('nosniff');
    return [response.status, await codeOf(response)];
  };
  expect(await refused(urlOf('gil', '?offset=41'))).toEqual([400, 'invalid_frame']);
  expect(await refused(`${gateway.url}/v1/streams/nothing/gil`)).toEqual([404, 'unknown_channel']);
  expect(await refused(`${gateway.url}/v1/streams/No%20name/gil`)).toEqual([400, 'invalid_channel']);
  for (const method of ['PUT', 'POST', 'DELETE', 'PATCH']) {
    const response = await fetch(urlOf('gil'), { method });
    expect([response.status, response.headers.get('Allow')]).toEqual([405, 'GET, HEAD']);
  }
  const page = await fetch(urlOf('gil'), { headers: { Origin: 'http://localhost:3000' } });
  expect(page.headers.get('Access-Control-Expose-Headers')).toContain('Stream-Next-Offset');
});

test('I5: with a secret no client reads without a token', async () => {
  const secret = 'a secret of thirty-two characters';
  const closed = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: secret });
  for (const query of ['', '?offset=-1&live=long-poll', '?offset=-1&live=sse']) {
    const response = await fetch(`${closed.url}/v1/streams/orders/ann${query}`);
    expect([response.status, await codeOf(response)]).toEqual([401, 'unauthorized']);
  }
  await closed.stop();
});

test('I7: a gateway that stops ends its readers, who hear to come back', async () => {
  const other = await startTestGateway(database.url, NO_RATES);
  const stream = await listen(`${other.url}/v1/streams/orders/ida?offset=now&live=sse`);
  await until(() => stream.heard.text.includes('control'), { what: 'the stream' });
  const poll = fetch(`${other.url}/v1/streams/orders/ida?offset=now&live=long-poll&timeout=60`);
  await until(async () => (await metricOf(other.url, 'rowcast_connections')) === 2, {
    what: 'two readers',
  });
  await other.stop();
  expect([(await poll).status, await codeOf(await poll)]).toEqual([503, 'shutting_down']);
  await until(() => stream.heard.over, { what: 'the end of the stream' });
});

/** The routes over a door of the test. */
async function startRoutes(door: DurableStreamOptions['door'], lifetime?: number) {
  const limit: RequestHandler = (_request, _response, next) => next();
  const routes = durableStreamRoutes({ door, cache: 'private', limit, ...(lifetime !== undefined && { lifetime }) });
  const refused: ErrorRequestHandler = (error: Refusal, _request, response, _next) => {
    response.status(500).send(error.code);
  };
  const server = createServer(express().use(routes, refused));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/v1/streams/orders/ann`, stop: () => server.close() };
}

test('an event stream ends after its lifetime, whatever is sent meanwhile, so that its reader comes back', async () => {
  const pong: Frame = { type: 'pong', id: 1 };
  const door = {
    stream: async (_request: IncomingMessage, response: ServerResponse) => {
      const transport = new SseTransport(response, 1024);
      transport.begin();
      const sending = setInterval(() => transport.send(pong), 1);
      response.once('close', () => clearInterval(sending));
      // Between the end of an answer and its close a write would be an error, and nobody listens for it.
      response.once('prefinish', () => transport.send(pong));
    },
    poll: async () => null,
  };
  const { url, stop } = await startRoutes(door, 50);
  const response = await fetch(`${url}?offset=now&live=sse`);
  expect(await response.text()).toMatch(/data: \{"type":"pong","id":1\}\n\n$/);
  stop();
});

test('I2: a reset between two pages is told also to who reads from the start', async () => {
  const page = (from: number) => eventsFrame('orders:ann', from, from, Buffer.from('{}'));
  const reset: Frame = { type: 'reset', channel: 'orders:ann', reason: 'pruned', position: 'k3x9.8' };
  const frames: (Frame | EventsFrame)[] = [reset, page(9)];
  const positions = [['orders:ann', 'k3x9.9']] as const;
  const door = { stream: async () => {}, poll: async () => ({ frames, positions, full: false }) };
  const { url, stop } = await startRoutes(door);
  expect(await (await fetch(url)).json()).toEqual([{}]);
  frames.unshift(page(1));
  expect(await (await fetch(url)).text()).toBe('position_gone');
  stop();
});
