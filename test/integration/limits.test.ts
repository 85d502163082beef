import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { WebSocket } from 'ws';
import type { Config } from '../../server/settings/config.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { follow } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { killAll, startGatewayProcess } from '../support/process.js';
import { talk } from '../support/raw-http.js';
import { encodeFrame, openRawWebSocket, PING, PONG, TEXT } from '../support/raw-websocket.js';
import { until } from '../support/until.js';

let database: TestDatabase;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  database = await createDatabase();
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  killAll();
  await database.drop();
});

async function gatewayWith(settings: Record<string, string>, values: Partial<Config> = {}): Promise<string> {
  const gateway = await startTestGateway(database.url, settings, values);
  ends.push(() => gateway.stop());
  return gateway.url;
}

/** What a gateway needs that a proxy brings others to: it is not for this machine alone. */
const FOR_ALL = { ROWCAST_JWT_SECRET: 'a secret of at least thirty-two characters', ROWCAST_ANONYMOUS: 'on' };

interface Visit {
  readonly socket: WebSocket;
  /** Of the close frame; 1006 where the upgrade was refused. */
  readonly closed: Promise<number>;
  readonly frames: Record<string, unknown>[];
  /** HTTP status and headers, where the upgrade was refused. */
  refused: { status: number; retryAfter: string | undefined } | null;
}

/** Knocks, and resolves when the answer is there: open, refused, or open and told to leave. */
async function visit(url: string, headers: Record<string, string> = {}): Promise<Visit> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/ws`, { headers });
  ends.push(() => socket.terminate());
  const closed = new Promise<number>((resolve) => socket.on('close', resolve));
  const made: Visit = { socket, closed, frames: [], refused: null };
  socket.on('error', () => {});
  socket.on('message', (data) => made.frames.push(JSON.parse(String(data)) as Record<string, unknown>));
  const answered = new Promise<void>((resolve) => {
    socket.on('open', resolve);
    socket.on('close', () => resolve());
    socket.on('unexpected-response', (request, { statusCode = 0, headers }) => {
      made.refused = { status: statusCode, retryAfter: headers['retry-after'] };
      request.destroy();
      resolve();
    });
  });
  await answered;
  return made;
}

/** As a client of the protocol. One that is turned away need not be told why. */
async function admitted(made: Visit): Promise<boolean> {
  if (made.refused !== null) return false;
  made.socket.send(JSON.stringify({ type: 'connect', id: 1, protocol: 1 }));
  const answered = () => made.frames.length > 0 || made.socket.readyState === WebSocket.CLOSED;
  await until(answered, { what: 'an answer to connect' });
  return made.frames[0]?.type === 'connected';
}

test('who comes too often is told when to come back; so many of them that telling costs too much get a 429', async () => {
  const url = await gatewayWith({ ROWCAST_ADDRESS_CONNECT_RATE: '1' });
  const visits: Visit[] = [];
  for (let index = 0; index < 100; index += 1) visits.push(await visit(url));
  const answers = await Promise.all(visits.map(admitted));
  expect(answers.slice(0, 2)).toEqual([true, true]);
  const away = visits.filter((_, index) => !answers[index]);
  const told = away.filter(({ refused }) => refused === null);
  const waits = told.map(({ frames }) => Number(frames[0]?.retryAfter));
  expect(waits.length).toBeGreaterThan(50);
  for (const { frames, closed } of told) {
    expect(frames).toMatchObject([{ type: 'error', code: 'rate_limited' }]);
    expect(frames[0]).not.toHaveProperty('id');
    expect(await closed).toBe(4006);
  }
  // One turn each, a second apart: they do not come back together.
  expect(new Set(waits.map((wait) => Math.round(wait / 500))).size).toBeGreaterThan(0.9 * waits.length);
  expect(away.at(-1)?.refused).toEqual({ status: 429, retryAfter: '60' });
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
});

const UPGRADE =
  'GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

test('I6: one that is turned away and does not leave is put out', async () => {
  const url = await gatewayWith({ ROWCAST_ADDRESS_CONNECT_RATE: '1' });
  await Promise.all([visit(url), visit(url)]);
  const began = fairNow();
  expect(await talk(url, UPGRADE)).toContain('"code":"rate_limited"'); // it never answers the close frame
  expect(fairNow() - began).toBeLessThan(5_000);
});

test('an address that knocks without end keeps no other out', async () => {
  const url = await gatewayWith({
    ROWCAST_ADDRESS_CONNECT_RATE: '5',
    ROWCAST_CONNECT_RATE: '100',
    ROWCAST_TRUST_PROXY: '1',
    ...FOR_ALL,
  });
  const began = performance.now();
  const flood = await Promise.all(Array.from({ length: 800 }, () => visit(url, { 'x-forwarded-for': '6.6.6.6' })));
  const answers = await Promise.all(flood.map(admitted));
  const seconds = (performance.now() - began) / 1000;
  expect(answers.filter(Boolean).length).toBeLessThanOrEqual(10 + 5 * seconds);
  expect(flood.filter(({ refused }) => refused?.status === 429).length).toBeGreaterThan(200);
  expect(await admitted(await visit(url, { 'x-forwarded-for': '1.1.1.1' }))).toBe(true);
});

test('the client library waits for its turn, and is let in then', async () => {
  const url = await gatewayWith({ ROWCAST_ADDRESS_CONNECT_RATE: '2' });
  const seen: (string | undefined)[] = [];
  const clients = Array.from({ length: 8 }, () =>
    testClient({ url, onState: (state, error) => state === 'waiting' && seen.push(error?.code) }),
  );
  await Promise.all(clients.map((client, index) => follow(client, `message:${index}`).live()));
  expect(seen.length).toBeGreaterThanOrEqual(4);
  expect(new Set(seen)).toEqual(new Set(['rate_limited']));
});

test('I6: connections at once, of one address and of all; a place that is left is free', async () => {
  const url = await gatewayWith({
    ROWCAST_ADDRESS_CONNECTIONS: '3',
    ROWCAST_MAX_CONNECTIONS: '5',
    ROWCAST_TRUST_PROXY: '1',
    ...FOR_ALL,
  });
  const from = (address: string) => visit(url, { 'x-forwarded-for': `6.6.6.6, ${address}` });
  const visits: Visit[] = [];
  for (const address of ['1.1.1.1', '1.1.1.1', '1.1.1.1', '2001:db8::1', '2001:db8::2']) {
    visits.push(await from(address));
  }
  expect(await Promise.all(visits.map(admitted))).toEqual([true, true, true, true, true]);
  for (const address of ['1.1.1.1', '3.3.3.3']) {
    const refused = await from(address);
    expect(await refused.closed).toBe(4005);
    expect(refused.frames).toMatchObject([{ type: 'error', code: 'too_many_connections' }]);
    expect(refused.frames[0]?.retryAfter).toBeGreaterThan(0);
  }
  visits[0]?.socket.close();
  await until(async () => admitted(await from('1.1.1.1')), { what: 'the place that was left' });
});

test('an address of which no trusted proxy tells is no address', async () => {
  const url = await gatewayWith({ ROWCAST_ADDRESS_CONNECTIONS: '1', ROWCAST_LOG_LEVEL: 'silent', ...FOR_ALL });
  expect(await admitted(await visit(url, { 'x-forwarded-for': '1.1.1.1' }))).toBe(true);
  const second = await visit(url, { 'x-forwarded-for': '2.2.2.2' });
  expect(await second.closed).toBe(4005);
});

test('I6: an upgrade that fails half-way holds no place', async () => {
  const url = await gatewayWith({ ROWCAST_ADDRESS_CONNECTIONS: '2' });
  for (let index = 0; index < 5; index += 1) {
    const answer = await talk(
      url,
      'GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1.1 400/);
  }
  expect(await admitted(await visit(url))).toBe(true);
});

const say = (frame: object) => encodeFrame(TEXT, Buffer.from(JSON.stringify(frame)));

test('frames: one that sends too many is read no faster than it may send; no other client waits, and none is lost', async () => {
  const settings = { ROWCAST_FRAME_RATE: '200', ROWCAST_MAX_SUBSCRIPTIONS: '10', ROWCAST_HEARTBEAT: '100' };
  const url = await gatewayWith(settings);
  let answers = 0;
  let beats = 0;
  const flood = await openRawWebSocket(url, (opcode, payload) => {
    if (opcode === TEXT) answers += 1;
    if (opcode !== PING) return;
    beats += 1;
    flood.socket.write(encodeFrame(PONG, payload));
  });
  ends.push(() => flood.socket.destroy());
  /** Sends them in one piece, and then one more: for how long that one waits. */
  const burst = async (frames: readonly object[]) => {
    const began = performance.now();
    const wanted = answers + frames.length;
    flood.socket.write(Buffer.concat(frames.map(say)));
    await until(() => answers === wanted, { what: 'the answers to what came in one piece' });
    flood.socket.write(say({ type: 'ping', id: 0 }));
    expect(await admitted(await visit(url))).toBe(true); // another client, at once
    expect(answers).toBe(wanted);
    await until(() => answers === wanted + 1, { what: 'the answer that waited' });
    return performance.now() - began;
  };
  // 621 frames, of which 220 at once and 200 a second. It was silent for many heartbeats, and not taken for dead.
  expect(await burst(Array.from({ length: 620 }, (_, id) => ({ type: 'ping', id })))).toBeGreaterThan(1_900);
  const seen = beats;
  await until(() => beats > seen + 2, { what: 'the heartbeat to go on' });
  // A loop that subscribes and unsubscribes pays for each frame as well.
  const loop = Array.from({ length: 200 }, (_, turn) => [
    { type: 'subscribe', id: 2 * turn, channel: 'message:loop' },
    { type: 'unsubscribe', id: 2 * turn + 1, channel: 'message:loop' },
  ]);
  expect(await burst([{ type: 'connect', id: 1_000, protocol: 1 }, ...loop.flat()])).toBeGreaterThan(800);
}, 60_000);

test('bytes: whatever they are made of, they are read no faster than they may come', async () => {
  const url = await gatewayWith({}, { maxFrameBytes: 1_024 });
  let pongs = 0;
  let connected = false;
  const client = await openRawWebSocket(url, (_, payload) => {
    if (payload.includes('"pong"')) pongs += 1;
    connected ||= payload.includes('"connected"');
  });
  ends.push(() => client.socket.destroy());
  client.socket.write(say({ type: 'connect', id: 0, protocol: 1 }));
  await until(() => connected, { what: 'the connection' });
  const began = performance.now();
  // 240 KiB of pongs that nobody asked for: no frame that the protocol knows, and none that the library shows.
  const pong = encodeFrame(PONG, Buffer.alloc(122));
  client.socket.write(Buffer.concat(Array.from({ length: 1_920 }, () => pong)));
  client.socket.write(say({ type: 'ping', id: 1 }));
  await until(() => pongs === 1, { what: 'the answer behind it' });
  // 80 KiB at once, and 64 KiB a second; the last piece is handled before it is paid for.
  expect(performance.now() - began).toBeGreaterThan(1_300);
});

test('I6: a client that sends WebSocket pings and never reads gets no heap of pongs', async () => {
  const gateway = await startGatewayProcess(database.url, NO_RATES);
  let connected = false;
  const raw = await openRawWebSocket(gateway.url, (_, payload) => {
    connected ||= payload.includes('"connected"');
  });
  raw.socket.write(say({ type: 'connect', id: 0, protocol: 1 }));
  await until(() => connected, { what: 'the connection' });
  raw.socket.pause();
  const ping = encodeFrame(PING, Buffer.alloc(125));
  const piece = Buffer.concat(Array.from({ length: 1_000 }, () => ping));
  const before = await gateway.memory();
  for (let sent = 0; sent < 1_000; sent += 1) {
    if (!raw.socket.write(piece)) await once(raw.socket, 'drain');
  }
  const grown = (await gateway.memory()) - before;
  console.log(`131 MB of pings that were not read: the gateway grew by ${Math.round(grown / 1024 ** 2)} MiB`);
  expect(grown).toBeLessThan(64 * 1024 ** 2);
  raw.socket.destroy();
  await gateway.stop();
}, 60_000);

test('I6: a connection that never asks for anything, or never comes to the end of it, is ended', async () => {
  const url = await gatewayWith({ ROWCAST_CONNECT_TIMEOUT: '300' });
  const began = fairNow();
  const half = 'GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n';
  const body = 'POST /v1/channels HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx';
  const [, late] = await Promise.all([talk(url, ''), talk(url, half), talk(url, body)]);
  expect(late).toMatch(/^HTTP\/1.1 408/);
  expect(fairNow() - began).toBeLessThan(5_000);
  expect(await talk(url, `GET /healthz HTTP/1.1\r\nX-Huge: ${'x'.repeat(40_000)}\r\n\r\n`)).toMatch(/^HTTP\/1.1 431/);
});

test('I6: thousands that open a connection and say nothing keep no client out', async () => {
  const url = await gatewayWith({});
  const { hostname, port } = new URL(url);
  const idle: Socket[] = [];
  let ended = 0;
  for (let index = 0; index < 2_400; index += 1) {
    const socket = connectSocket(Number(port), hostname);
    socket.on('error', () => {});
    socket.on('close', () => {
      ended += 1;
    });
    idle.push(socket);
    if (index % 100 === 0) await once(socket, 'connect');
  }
  await until(() => ended >= 2_400 - 2_048, { what: 'the oldest to be ended' });
  expect(idle[0]?.destroyed).toBe(true);
  expect(await admitted(await visit(url))).toBe(true);
  for (const socket of idle) socket.destroy();
});

test('HTTP requests of one address are limited, but for those about health', async () => {
  const url = await gatewayWith({ ROWCAST_ADDRESS_REQUEST_RATE: '5' });
  const ask = async (path: string) => {
    const { status, headers } = await fetch(`${url}${path}`);
    return { status, retryAfter: headers.get('retry-after') };
  };
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask('/v1/channels')));
  const served = answers.filter(({ status }) => status === 200).length;
  expect(served).toBeGreaterThanOrEqual(10);
  expect(served).toBeLessThan(20);
  const refused = answers.filter(({ status }) => status === 429);
  expect(served + refused.length).toBe(30);
  for (const { retryAfter } of refused) expect(Number(retryAfter)).toBeGreaterThan(0);
  expect(
    (await Promise.all(Array.from({ length: 30 }, () => ask('/healthz')))).every(({ status }) => status === 200),
  ).toBe(true);
});

test('every path under /v1 is limited', async () => {
  const routes = join(import.meta.dirname, '../../server');
  const files = readdirSync(routes, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const source = files.map((name) => readFileSync(join(routes, name), 'utf8'));
  const paths = new Set(source.join('').match(/(?<=')\/v1\/[^']+/g));
  for (const path of ['sse', 'poll', 'commands', 'streams/:stream/:key', 'channels'])
    expect(paths).toContain(`/v1/${path}`);
  const rates = {
    ROWCAST_ADDRESS_CONNECT_RATE: '1',
    ROWCAST_ADDRESS_REQUEST_RATE: '1',
    ROWCAST_ADDRESS_POLL_RATE: '1',
  };
  const url = await gatewayWith(rates);
  for (const path of [...paths, '/v1/nothing']) {
    const at = `${url}${path.replaceAll(':', '')}?channel=nowhere:x`;
    const answers = await Promise.all(Array.from({ length: 6 }, async () => (await fetch(at)).text()));
    expect([path, answers.some((text) => text.includes('rate_limited'))]).toEqual([path, true]);
  }
});
