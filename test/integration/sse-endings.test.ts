import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { SignJWT } from 'jose';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import type { Config } from '../../server/settings/config.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type EventStream, type EventStreamOptions, openEventStream } from '../support/event-stream.js';
import { seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { heldBytes, INSPECTED } from '../support/heap.js';
import { killAll, startGatewayProcess } from '../support/process.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const SECRET = 'a secret of at least thirty-two characters';

/** Seconds that a token is good for beyond its end: clocks differ. */
const TOLERANCE = 5;

let database: TestDatabase;
let writer: pg.Client;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  killAll();
  await writer.end();
  await database.drop();
});

async function start(
  settings: Record<string, string> = {},
  databaseUrl = database.url,
  values: Partial<Config> = {},
): Promise<Gateway> {
  const { url, stop } = await startTestGateway(databaseUrl, { ...NO_RATES, ...settings }, values);
  let stopped: Promise<void> | undefined;
  const gateway = { url, stop: () => (stopped ??= stop()) };
  ends.push(gateway.stop);
  return gateway;
}

/** A gateway that reaches its database by way of a proxy. */
async function startBehindProxy(): Promise<{ gateway: Gateway; proxy: FaultProxy }> {
  const proxy = await startProxy(Number(new URL(database.url).port));
  ends.push(() => proxy.close());
  const gateway = await start({ ROWCAST_LOG_LEVEL: 'silent' }, proxy.via(database.url));
  return { gateway, proxy };
}

async function open({ url }: Gateway, query: string, options?: EventStreamOptions): Promise<EventStream> {
  const stream = await openEventStream(`${url}/v1/sse?${query}`, options);
  ends.push(() => stream.close());
  return stream;
}

const publish = (channel: string, count = 1) =>
  writer.query(`SELECT rowcast.publish($1, 'note') FROM generate_series(1, $2::int)`, [channel, count]);

/** Good for so many seconds from now, the tolerance included. */
const token = (subject: string, seconds: number) =>
  new SignJWT({ sub: subject, role: 'service_role', exp: Math.floor(Date.now() / 1000) + seconds - TOLERANCE })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET));

const bearing = (bearer: string) => ({ headers: { authorization: `Bearer ${bearer}` } });

test.each([
  ['', 400, 'invalid_frame'],
  ['channel=lobby', 400, 'invalid_channel'],
  ['channel=nowhere:x', 404, 'unknown_channel'],
  ['channel=hall&channel=lobby', 400, 'invalid_channel'],
  ['channel=message:a&since=yesterday', 400, 'invalid_frame'],
  ['channel=message:a&channel=message:b&channel=message:c&since=1&since=2', 400, 'invalid_frame'],
  ['channel=message:a&session=not+a+name', 400, 'invalid_frame'],
  [`channel=message:${'x'.repeat(600)}`, 400, 'invalid_frame'],
])('there is nothing to stream and no use in coming back: %s gets %i %s', async (query, status, code) => {
  const gateway = await start();
  const stream = await open(gateway, query);
  await stream.ended;
  expect([stream.status, JSON.parse(stream.text())]).toEqual([
    status,
    { error: { code, message: expect.stringMatching(/./) } },
  ]);
  expect(stream.headers).toMatchObject({
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'access-control-allow-origin': '*',
  });
});

test('I5: without a valid token there is no stream; a page of another origin has none without a secret', async () => {
  const guarded = await start({ ROWCAST_JWT_SECRET: SECRET });
  for (const options of [{}, bearing('x'), bearing(`${await token('ann', 60)}x`)]) {
    const stream = await open(guarded, 'channel=message:a', options);
    await stream.ended;
    expect([stream.status, stream.text()]).toEqual([401, expect.stringContaining('"code":"unauthorized"')]);
  }
  const stream = await open(guarded, 'channel=message:a', bearing(await token('ann', 60)));
  await stream.frame('subscribed');
  const local = await start();
  const stranger = await open(local, 'channel=message:a', { headers: { origin: 'https://example.com' } });
  const renamed = await open(local, 'channel=message:a', { headers: { host: 'rebound.example.com' } });
  expect([stranger.status, renamed.status]).toEqual([403, 403]);
});

/** What an `EventSource` comes back after: a stream that says when and why, and ends. */
async function turnedAway(stream: EventStream): Promise<{ code: string | undefined; retry: number }> {
  await stream.ended;
  expect(stream.status).toBe(200);
  expect(stream.headers['content-type']).toBe('text/event-stream');
  expect(stream.ids).toEqual([null]);
  return { code: stream.frames[0]?.code, retry: Number(/^retry: (\d+)$/m.exec(stream.text())?.[1]) };
}

test('who comes too often, or finds no place, hears when to come back', async () => {
  const curt = await start({ ROWCAST_ADDRESS_CONNECT_RATE: '1' });
  const answers = await Promise.all(Array.from({ length: 10 }, () => open(curt, 'channel=message:a')));
  await Promise.all(answers.map(({ frames }) => until(() => frames.length > 0, { what: 'an answer' })));
  const away = await Promise.all(answers.filter(({ frames }) => frames[0]?.type === 'error').map(turnedAway));
  expect(away).toHaveLength(8);
  expect(new Set(away.map(({ code }) => code))).toEqual(new Set(['rate_limited']));
  expect(new Set(away.map(({ retry }) => Math.round(retry / 500))).size).toBeGreaterThan(5); // one turn each
  const small = await start({ ROWCAST_MAX_CONNECTIONS: '1' });
  const first = await open(small, 'channel=message:a');
  const second = await turnedAway(await open(small, 'channel=message:a'));
  expect(second).toEqual({ code: 'too_many_connections', retry: expect.any(Number) });
  first.close();
  const placed = async () => {
    const { frames } = await open(small, 'channel=message:a');
    return (await until(() => frames[0], { what: 'an answer' })).type === 'connected';
  };
  await until(placed, { what: 'the place that was left' });
});

test('while the database is away one is told to come back, and gets what was missed then', async () => {
  const { gateway, proxy } = await startBehindProxy();
  await publish('message:away', 2);
  proxy.refuse();
  proxy.reset();
  const away = await turnedAway(await open(gateway, 'channel=message:away&since=start'));
  expect(away).toEqual({ code: 'unavailable', retry: 1_000 });
  proxy.heal();
  const back = async () => {
    const stream = await open(gateway, 'channel=message:away&since=start');
    await until(() => stream.frames.length > 0, { what: 'a frame' });
    return stream.frames[0]?.type === 'connected' ? stream : null;
  };
  const stream = await until(back, { what: 'the database to be found again' });
  await stream.frame('events');
  expect(stream.seqs('message:away')).toEqual([1, 2]);
});

test('I2: a stream of which one channel cannot be had now ends, and its id still names that one', async () => {
  const { gateway, proxy } = await startBehindProxy();
  await publish('message:here');
  const reader = await open(gateway, 'channel=message:here&since=start');
  await reader.frame('events'); // in memory from here on
  proxy.refuse();
  proxy.reset();
  const stream = await open(gateway, 'channel=message:here&channel=message:there&since=start');
  await stream.ended;
  expect(stream.frames.at(-1)).toMatchObject({ type: 'error', code: 'unavailable' });
  expect(stream.lastEventId()).toMatch(/^(|message%3Ahere=[\w.]+&message%3Athere=start)$/);
});

test('I5: after the end of its token a stream brings nothing and ends; a refresh in time prolongs it', async () => {
  const guarded = await start({ ROWCAST_JWT_SECRET: SECRET }, database.url, { refreshTimeout: 1_500 });
  const ann = bearing(await token('ann', 2));
  const [short, long, unnamed] = [
    await open(guarded, 'channel=message:a&session=short', ann),
    await open(guarded, 'channel=message:a&session=long', ann),
    await open(guarded, 'channel=message:a', ann),
  ];
  const answer = await fetch(`${guarded.url}/v1/commands`, {
    method: 'POST',
    ...ann,
    body: JSON.stringify({
      session: 'long',
      commands: [{ type: 'refresh', id: 9, token: await token('ann', 60) }],
    }),
  });
  expect(answer.status).toBe(202);
  expect(await long.frame('refreshed')).toEqual({ type: 'refreshed', id: 9 });
  await short.frame('paused');
  // Nobody can send a fresh token to this one: it comes back with it.
  await unnamed.ended;
  expect(unnamed.frames.map(({ type }) => type)).toEqual(['connected', 'subscribed', 'error']);
  expect(unnamed.frames.at(-1)).toMatchObject({ code: 'token_expired' });
  await publish('message:a');
  await long.frame('events');
  await short.ended;
  expect(short.frames.slice(-2)).toEqual([
    { type: 'paused', code: 'token_expired' },
    { type: 'error', code: 'token_expired', message: expect.stringMatching(/./) },
  ]);
});

test('a gateway that stops ends its streams with a word, and another one goes on at the id', async () => {
  const [first, second] = [await start(), await start()];
  await publish('message:moved', 3);
  const stream = await open(first, 'channel=message:moved&since=start');
  await stream.frame('events');
  await first.stop();
  await stream.ended;
  expect(stream.frames.at(-1)).toMatchObject({ type: 'error', code: 'shutting_down' });
  await publish('message:moved');
  const next = await open(second, '', { headers: { 'Last-Event-ID': stream.lastEventId() } });
  await next.frame('events');
  expect([stream.seqs('message:moved'), next.seqs('message:moved')]).toEqual([[1, 2, 3], [4]]);
});

test('I1 I2 I3 I6: a reader that stops reading costs one send buffer, and gets the rest when it reads again', async () => {
  const rows = 400;
  const gateway = await startGatewayProcess(database.url, {
    ...NO_RATES,
    ...INSPECTED,
    ROWCAST_CACHE_BYTES: `${1024 ** 2}`,
  });
  const at = `${gateway.url}/v1/sse?channel=message:slow`;
  const streams = await Promise.all(Array.from({ length: 3 }, () => openEventStream(at)));
  for (const stream of streams) await stream.frame('subscribed');
  const before = await heldBytes(gateway);
  for (const stream of streams) stream.pause();
  for (let row = 0; row < rows; row += 40) {
    await writer.query(
      `SELECT rowcast.publish('message:slow', 'log', to_jsonb(repeat('x', 100000))) FROM generate_series(1, 40)`,
    );
  }
  const last = await openEventStream(at);
  await until(() => last.lastEventId().endsWith(`.${rows}`), { what: 'the gateway to know them all' });
  expect((await heldBytes(gateway)) - before).toBeLessThan(12 * 1024 ** 2); // of 120
  for (const stream of streams) stream.resume();
  for (const stream of streams) {
    await until(() => stream.seqs('message:slow').at(-1) === rows, { deadlineMs: 20_000, what: 'the rest' });
    expect(stream.seqs('message:slow')).toEqual(seqs(1, rows));
  }
  for (const stream of [...streams, last]) stream.close();
  await gateway.stop();
}, 60_000);
