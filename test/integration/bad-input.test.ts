import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SignJWT } from 'jose';
import { WebSocket } from 'ws';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { talk } from '../support/raw-http.js';
import { until } from '../support/until.js';

const SECRET = 'a secret of at least thirty-two characters';

let database: TestDatabase;
let gateway: Gateway;
let guarded: Gateway;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, { ROWCAST_MAX_SUBSCRIPTIONS: '2' });
  guarded = await startTestGateway(
    database.url,
    { ROWCAST_JWT_SECRET: SECRET, ROWCAST_CONNECT_TIMEOUT: '200' },
    { refreshTimeout: 200 },
  );
});
afterAll(async () => {
  await gateway.stop();
  await guarded.stop();
  await database.drop();
});

interface RawClient {
  readonly socket: WebSocket;
  readonly frames: { type: string; id?: number; code?: string }[];
  readonly closed: Promise<number>;
  send(frame: unknown): void;
  frame(index: number): Promise<{ type: string; id?: number; code?: string }>;
}

async function connect(to: Gateway): Promise<RawClient> {
  const socket = new WebSocket(`${to.url.replace('http', 'ws')}/v1/ws`);
  const frames: RawClient['frames'] = [];
  const closed = new Promise<number>((resolve) => socket.on('close', resolve));
  socket.on('message', (data) => frames.push(JSON.parse(String(data)) as RawClient['frames'][number]));
  socket.on('error', () => {});
  await new Promise((resolve) => socket.on('open', resolve));
  return {
    socket,
    frames,
    closed,
    send: (frame) => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    frame: (index) => until(() => frames[index], { what: `frame ${index} (there are ${JSON.stringify(frames)})` }),
  };
}

const CONNECT = { type: 'connect', id: 1, protocol: 1 };

test('each bad frame gets its code and the id of its command, and the connection lives', async () => {
  const client = await connect(gateway);
  client.send({ type: 'subscribe', id: 7, channel: 'message:a' });
  expect(await client.frame(0)).toMatchObject({ type: 'error', id: 7, code: 'not_connected' });
  client.send(CONNECT);
  expect(await client.frame(1)).toMatchObject({ type: 'connected', id: 1, heartbeat: 25_000 });
  const cases: [unknown, string, number?][] = [
    ['{"type":', 'invalid_json'],
    ['[]', 'invalid_frame'],
    ['null', 'invalid_frame'],
    [{ type: 'toString', id: 2 }, 'unknown_type', 2],
    [{ type: 'subscribe', id: 3 }, 'invalid_frame', 3],
    [{ type: 'subscribe', id: 'x', channel: 'message:a' }, 'invalid_frame'],
    [{ type: 'subscribe', id: 4, channel: 'nix:1' }, 'unknown_channel', 4],
    [{ type: 'subscribe', id: 5, channel: 'nix' }, 'invalid_channel', 5],
    [{ type: 'subscribe', id: 6, channel: 'message:a', since: 'yesterday' }, 'invalid_frame', 6],
    [{ type: 'unsubscribe', id: 7, channel: 'message:a' }, 'not_subscribed', 7],
    [CONNECT, 'already_connected', 1],
    [{ type: 'ping', id: 8, padding: 'x'.repeat(70_000) }, 'frame_too_large'],
  ];
  for (const [index, [frame, code, id]] of cases.entries()) {
    client.send(frame);
    const answer = await client.frame(2 + index);
    expect(answer).toMatchObject({ type: 'error', code });
    expect(answer.id).toBe(id);
  }
  client.send({ type: 'ping', id: 9 });
  expect(await client.frame(2 + cases.length)).toEqual({ type: 'pong', id: 9 });
  client.socket.close();
});

test('I6: a connection has at most so many subscriptions', async () => {
  const client = await connect(gateway);
  client.send(CONNECT);
  await client.frame(0);
  for (const [id, channel] of ['a', 'b', 'c'].entries()) {
    client.send({ type: 'subscribe', id: id + 2, channel: `message:${channel}` });
  }
  await client.frame(3);
  expect(client.frames.find(({ id }) => id === 4)).toMatchObject({ type: 'error', code: 'too_many_subscriptions' });
  client.socket.close();
});

test('what cannot go on is closed with a code that says whether to come back', async () => {
  const old = await connect(gateway);
  old.send({ ...CONNECT, protocol: 99 });
  expect(await old.closed).toBe(4500);

  const huge = await connect(gateway);
  huge.send('x'.repeat(2 ** 21));
  expect(await huge.closed).toBe(1009);

  const noisy = await connect(gateway);
  for (let frame = 0; frame < 200; frame++) noisy.send('noise');
  expect(await noisy.closed).toBe(4502);

  const silent = await connect(guarded);
  expect(await silent.closed).toBe(4002);
});

test('I5: with a secret, only a token that is signed with it opens, until it expires', async () => {
  const sign = (secret: string, seconds: number) =>
    new SignJWT({ sub: 'somebody', role: 'service_role' })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
      .sign(new TextEncoder().encode(secret));
  const unsigned = `${btoa('{"alg":"none"}')}.${btoa('{"sub":"x","exp":9999999999}')}.`.replaceAll('=', '');
  const refusals: [string | undefined, number][] = [
    [undefined, 4501],
    ['nonsense', 4501],
    [unsigned, 4501],
    [await sign('another secret of thirty-two characters', 60), 4501],
    [await sign(SECRET, -60), 4004],
  ];
  for (const [token, code] of refusals) {
    const client = await connect(guarded);
    client.send({ ...CONNECT, token });
    expect(await client.closed).toBe(code);
    expect(client.frames).toHaveLength(1);
  }
  const short = await connect(guarded);
  short.send({ ...CONNECT, token: await sign(SECRET, -4) }); // within the tolerance of clocks, for a second
  expect(await short.frame(0)).toMatchObject({ type: 'connected' });
  expect(await short.closed).toBe(4004);

  const client = testClient({ url: guarded.url, token: () => sign(SECRET, 60) });
  await follow(client, 'message:a').live();
  client.close();
  const listed = await fetch(`${guarded.url}/v1/channels`);
  expect(listed.status).toBe(401);
});

const upgrade = (path: string, origin = '') =>
  `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${origin}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

test('odd upgrades are refused, and end nothing but themselves', async () => {
  for (const path of ['//', '/v1/wsx', '/%', 'http://[', '/v1/ws/../x']) {
    expect(await talk(gateway.url, upgrade(path))).toMatch(/^HTTP\/1.1 4\d\d/);
    await talk(gateway.url, upgrade(path), true);
  }
  expect(await talk(gateway.url, upgrade('/v1/ws', 'Origin: https://stranger.example\r\n'))).toMatch(/^HTTP\/1.1 403/);
  expect(await talk(gateway.url, upgrade('/v1/ws', 'Origin: http://127.0.0.1.stranger.example\r\n'))).toMatch(/ 403/);
  expect(await talk(gateway.url, upgrade('/elsewhere'))).toMatch(/ 404 .*"code":"not_found"/s);
  const page = new WebSocket(`${gateway.url.replace('http', 'ws')}/v1/ws`, { origin: 'http://localhost:5173' });
  await new Promise((resolve) => page.on('open', resolve));
  page.close();
});

test('an offer of HTTP/2, as some clients make with any request, is declined, and the request answered', async () => {
  const offer = (path: string) =>
    `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`;
  expect(await talk(gateway.url, offer('/healthz'))).toMatch(/^HTTP\/1.1 200 .*"status":"ok"/s);
  expect(await talk(gateway.url, offer('/v1/ws'))).toMatch(/^HTTP\/1.1 404 .*"code":"not_found"/s);
  const withBody = (path: string) => offer(path).replace('GET', 'POST').replace(/\r\n$/, 'Content-Length: 2\r\n\r\n[]');
  expect(await talk(gateway.url, withBody('/v1/poll'))).toMatch(/ 400 .*"invalid_frame".*not have an Upgrade header/s);
  expect(await talk(gateway.url, withBody('/api/agents/executions'))).toMatch(
    / 400 .*not have an Upgrade header.*"invalid_request"/s,
  );
  await talk(gateway.url, offer('/v1/channels'), true);
  expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200);
});

test('a binary frame is no command, and ends nothing', async () => {
  const client = await connect(gateway);
  client.socket.send(Buffer.from(JSON.stringify(CONNECT)), { binary: true });
  expect(await client.frame(0)).toMatchObject({ type: 'error', code: 'invalid_frame' });
  client.send(CONNECT);
  expect(await client.frame(1)).toMatchObject({ type: 'connected' });
  client.socket.close();
});
