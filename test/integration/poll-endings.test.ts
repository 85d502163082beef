import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { SignJWT } from 'jose';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { seqsOf } from '../support/event-stream.js';
import { fairNow } from '../support/fair-clock.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { metricOf } from '../support/metrics.js';
import { ask, type PollAnswer, poll, type Wanted } from '../support/poll.js';
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
  await writer.end();
  await database.drop();
});

async function start(settings: Record<string, string> = {}, databaseUrl = database.url): Promise<Gateway> {
  const { url, stop } = await startTestGateway(databaseUrl, { ...NO_RATES, ROWCAST_LOG_LEVEL: 'silent', ...settings });
  let stopped: Promise<void> | undefined;
  const gateway = { url, stop: () => (stopped ??= stop()) };
  ends.push(gateway.stop);
  return gateway;
}

/** A gateway that reaches its database by way of a proxy. */
async function startBehindProxy(): Promise<{ gateway: Gateway; proxy: FaultProxy }> {
  const proxy = await startProxy(Number(new URL(database.url).port));
  ends.push(() => proxy.close());
  return { gateway: await start({}, proxy.via(database.url)), proxy };
}

const publish = (channel: string, count = 1) =>
  writer.query(`SELECT rowcast.publish($1, 'note') FROM generate_series(1, $2::int)`, [channel, count]);

/** Good for so many seconds from now, the tolerance included. */
const token = (seconds: number) =>
  new SignJWT({ sub: 'ann', role: 'service_role', exp: Math.floor(Date.now() / 1000) + seconds - TOLERANCE })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET));

const gaugeOf = ({ url }: Gateway, name: string) => metricOf(url, `rowcast_${name}`);

const subscriptionsOf = (gateway: Gateway) => gaugeOf(gateway, 'subscriptions');

async function waiting(gateway: Gateway, answer: Promise<PollAnswer>, channels = 1): Promise<Promise<PollAnswer>[]> {
  await until(async () => (await subscriptionsOf(gateway)) === channels, { what: 'the poll to wait' });
  return [answer];
}

/** A refusal of the whole request, which leaves the client where it was. */
function refused({ status, text }: PollAnswer): [number, unknown] {
  const { error, ...rest } = JSON.parse(text) as { error?: { code?: string } };
  expect(rest).toEqual({});
  return [status, error?.code];
}

const commands = (bearer: string | undefined, channel: string) =>
  JSON.stringify([
    { type: 'connect', id: 0, protocol: 1, token: bearer },
    { type: 'subscribe', id: 1, channel },
  ]);

test('a gateway that stops refuses the polls that wait: they go on elsewhere from where they were', async () => {
  const [first, second] = [await start(), await start()];
  await publish('message:stop', 2);
  const wanted: Wanted = [['message:stop', '2']];
  const [byGet] = await waiting(first, poll(first.url, wanted));
  const [byPost] = await waiting(
    first,
    ask(`${first.url}/v1/poll`, { method: 'POST', body: commands(undefined, 'message:stop') }),
    2,
  );
  await first.stop();
  for (const answer of [byGet, byPost]) expect(refused((await answer) as PollAnswer)).toEqual([503, 'shutting_down']);
  await publish('message:stop');
  expect(seqsOf((await poll(second.url, wanted)).frames, 'message:stop')).toEqual([3]);
});

test('I5: a poll whose token ends while it waits gets nothing from then on, and the next one is refused', async () => {
  const guarded = await start({ ROWCAST_JWT_SECRET: SECRET });
  const bearer = await token(2);
  const headers = { authorization: `Bearer ${bearer}` };
  const began = fairNow();
  const [byGet, byPost] = await Promise.all([
    poll(guarded.url, [['message:secret', 'now']], 20, { headers }),
    ask(`${guarded.url}/v1/poll`, { method: 'POST', body: commands(bearer, 'message:secret') }),
  ]);
  expect(fairNow() - began).toBeLessThan(10_000);
  expect(byGet).toMatchObject({ status: 200, frames: [] });
  expect(byPost).toMatchObject({ status: 200, frames: [{ type: 'connected' }, { type: 'subscribed' }] });
  for (const answer of [byGet, byPost]) expect(answer.positions['message:secret']).toMatch(/\.0$/);
  await publish('message:secret');
  const late = [
    poll(guarded.url, [['message:secret', 'start']], 0, { headers }),
    ask(`${guarded.url}/v1/poll`, { method: 'POST', body: commands(bearer, 'message:secret') }),
  ];
  for (const answer of late) expect(refused(await answer)).toEqual([401, 'token_expired']);
  const none = await poll(guarded.url, [['message:secret', 'start']], 0);
  expect(refused(none)).toEqual([401, 'unauthorized']);
});

test('I9: a poll that waits while the database is away gets what was written meanwhile', async () => {
  const { gateway, proxy } = await startBehindProxy();
  const [answer] = await waiting(gateway, poll(gateway.url, [['message:away', 'now']]));
  proxy.refuse();
  proxy.reset();
  await publish('message:away', 3);
  proxy.heal();
  expect(seqsOf(((await answer) as PollAnswer).frames, 'message:away')).toEqual([1, 2, 3]);
});

test('while the database is away a poll is refused, or ends without news: in time', async () => {
  const { gateway, proxy } = await startBehindProxy();
  await poll(gateway.url, [['message:known', 'now']], 1);
  proxy.refuse();
  proxy.reset();
  expect(refused(await poll(gateway.url, [['message:unknown', 'now']], 1))).toEqual([503, 'unavailable']);
  const began = fairNow();
  const post = await ask(`${gateway.url}/v1/poll?wait=1`, {
    method: 'POST',
    body: commands(undefined, 'message:unknown'),
  });
  expect(post.status).toBe(200);
  expect(post.frames).toMatchObject([{ type: 'connected' }, { type: 'error', id: 1, code: 'unavailable' }]);
  expect(fairNow() - began).toBeLessThan(5_000);
});

test('I2: a poll of which one channel cannot be had now is refused: its positions would not name that one', async () => {
  const { gateway, proxy } = await startBehindProxy();
  await publish('message:here');
  const [reader] = await waiting(gateway, poll(gateway.url, [['message:here', '1']]));
  proxy.refuse();
  proxy.reset();
  const both: Wanted = [
    ['message:here', '1'],
    ['message:there', 'start'],
  ];
  expect(refused(await poll(gateway.url, both, 1))).toEqual([503, 'unavailable']);
  proxy.heal();
  await publish('message:here');
  expect(seqsOf(((await reader) as PollAnswer).frames, 'message:here')).toEqual([2]);
});

test.each([
  '/v1/poll?wait=60&channel=message:piped',
  '/v1/streams/message/piped?offset=now&live=long-poll&timeout=60',
  '/v1/sse?channel=message:piped',
])(
  'I6 I7: requests to %s that wait behind others leave nothing when their socket closes, and the gateway ends',
  async (path) => {
    const gateway = await start();
    const { hostname, port } = new URL(gateway.url);
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(20));
    await until(async () => (await gaugeOf(gateway, 'connections')) === 20, { what: 'all of them to wait' });
    socket.destroy();
    await until(async () => (await gaugeOf(gateway, 'connections')) === 0, { what: 'all of them to be gone' });
    expect(await subscriptionsOf(gateway)).toBe(0);
    const other = connect(Number(port), hostname);
    other.on('error', () => {});
    other.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(20));
    await until(async () => (await gaugeOf(gateway, 'connections')) === 20, { what: 'the others to wait' });
    const began = fairNow();
    await gateway.stop();
    expect(fairNow() - began).toBeLessThan(8_000);
  },
);
