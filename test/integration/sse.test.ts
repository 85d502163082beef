import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type EventStream, type EventStreamOptions, openEventStream } from '../support/event-stream.js';
import { fairNow } from '../support/fair-clock.js';
import { seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { metricOf } from '../support/metrics.js';
import { startProxy } from '../support/proxy.js';
import { talk } from '../support/raw-http.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_HEARTBEAT: '600' });
  writer = await connectWriter(database.url);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

const publish = (channel: string, count = 1) =>
  writer.query(`SELECT rowcast.publish($1, 'note', to_jsonb(i)) FROM generate_series(1, $2::int) i`, [channel, count]);

/** The channels with where to begin; undefined: the request does not say. */
type Wanted = readonly (readonly [channel: string, since: string | undefined])[];

function addressOf(url: string, wanted: Wanted): string {
  const query = wanted.flatMap(([channel, since]) => [
    ['channel', channel],
    ...(since === undefined ? [] : [['since', since]]),
  ]);
  return `${url}/v1/sse?${new URLSearchParams(query)}`;
}

async function open(wanted: Wanted, options?: EventStreamOptions, at = gateway): Promise<EventStream> {
  const stream = await openEventStream(addressOf(at.url, wanted), options);
  ends.push(() => stream.close());
  return stream;
}

/** Of one channel. */
async function positionOf(stream: EventStream, channel: string): Promise<string> {
  return until(() => new URLSearchParams(stream.lastEventId()).get(channel), { what: `the position of ${channel}` });
}

test('I1 I2 I3: opens with padding and retry, then each frame comes with the positions of all channels', async () => {
  await publish('message:a', 3);
  await publish('message:b', 2);
  const stream = await open([
    ['message:a', 'start'],
    ['message:b', '1'],
  ]);
  expect(stream.status).toBe(200);
  expect(stream.headers).toMatchObject({
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-store, no-transform',
    'x-accel-buffering': 'no',
    'access-control-allow-origin': '*',
  });
  await stream.frame('events', 'message:a');
  await stream.frame('events', 'message:b');
  expect(stream.text()).toMatch(/^: {2048}\nretry: 1000\n\ndata: \{"type":"connected","id":0,/);
  expect(stream.frames.map(({ type, channel = '' }) => `${type} ${channel}`)).toEqual([
    'connected ',
    'subscribed message:a',
    'subscribed message:b',
    'events message:a',
    'events message:b',
  ]);
  expect([stream.seqs('message:a'), stream.seqs('message:b')]).toEqual([[1, 2, 3], [2]]);
  const [epoch] = (await positionOf(stream, 'message:a')).split('.');
  const id = (a: number, b: string) => `message%3Aa=${epoch}.${a}&message%3Ab=${b}`;
  const last = `message%3Ab=${epoch}.2&message%3Aa=${epoch}.3`; // who was served goes last
  expect(stream.ids).toEqual([null, id(0, '1'), id(0, `${epoch}.1`), id(3, `${epoch}.1`), last]);
  await publish('message:b');
  await until(() => stream.lastEventId() === id(3, `${epoch}.3`), { what: 'what came live' });
});

test.each<[string, Wanted, number[], number[]]>([
  [
    'nothing: from now on',
    [
      ['message:f', undefined],
      ['message:g', undefined],
    ],
    [4],
    [4],
  ],
  [
    'one for all',
    [
      ['message:f', '2'],
      ['message:g', undefined],
    ],
    [3, 4],
    [3, 4],
  ],
  [
    'one for each',
    [
      ['message:f', 'start'],
      ['message:g', 'now'],
    ],
    [1, 2, 3, 4],
    [4],
  ],
])('since says %s', async (_, wanted, first, second) => {
  await writer.query(`DELETE FROM rowcast.messages WHERE key IN ('f', 'g')`);
  await writer.query(`DELETE FROM rowcast.channels WHERE key IN ('f', 'g')`);
  // Another gateway: this one may still know the channels of the row before.
  const fresh = await startTestGateway(database.url, NO_RATES);
  ends.push(() => fresh.stop());
  await publish('message:f', 3);
  await publish('message:g', 3);
  const stream = await open(wanted, {}, fresh);
  await stream.frame('subscribed', 'message:f');
  await stream.frame('subscribed', 'message:g');
  await publish('message:f');
  await publish('message:g');
  await until(() => stream.seqs('message:f').at(-1) === 4 && stream.seqs('message:g').at(-1) === 4, { what: 'all' });
  expect([stream.seqs('message:f'), stream.seqs('message:g')]).toEqual([first, second]);
});

test('I1 I2 I3: a stream that is cut again and again goes on by Last-Event-ID, whatever the query says', async () => {
  const wanted: Wanted = [
    ['message:cut', 'start'],
    ['message:cut2', 'start'],
  ];
  const seen = { 'message:cut': [] as number[], 'message:cut2': [] as number[] };
  let lastEventId = '';
  for (let round = 0; round < 30; round += 1) {
    const writing = Promise.all([publish('message:cut', 20), publish('message:cut2', 7)]);
    const stream = await open(wanted, lastEventId === '' ? {} : { headers: { 'Last-Event-ID': lastEventId } });
    const [channel] = wanted[round % 2] ?? [''];
    if (round % 3 > 0) await stream.frame('events', channel);
    else await stream.frame('subscribed');
    stream.close();
    for (const name of ['message:cut', 'message:cut2'] as const) seen[name].push(...stream.seqs(name));
    lastEventId = stream.lastEventId();
    await writing;
  }
  const rest = await open([['message:nobody', 'start']], { headers: { 'Last-Event-ID': lastEventId } });
  const all = (name: keyof typeof seen) => [...seen[name], ...rest.seqs(name)];
  await until(() => all('message:cut').at(-1) === 600 && all('message:cut2').at(-1) === 210, { what: 'the rest' });
  expect(all('message:cut')).toEqual(seqs(1, 600));
  expect(all('message:cut2')).toEqual(seqs(1, 210));
});

test('I2: an id also names the channels that are still being opened', async () => {
  await publish('message:known', 2);
  await publish('message:slow', 2);
  const proxy = await startProxy(Number(new URL(database.url).port));
  const behind = await startTestGateway(proxy.via(database.url), NO_RATES);
  ends.push(async () => {
    await behind.stop();
    await proxy.close();
  });
  const first = await open([['message:known', 'start']], {}, behind);
  await first.frame('events'); // in memory from here on
  proxy.hold('down');
  const second = await open(
    [
      ['message:known', '1'],
      ['message:slow', 'start'],
    ],
    {},
    behind,
  );
  await second.frame('events', 'message:known');
  expect(second.lastEventId()).toMatch(/^message%3Aknown=\w+\.2&message%3Aslow=start$/);
  second.close();
  proxy.heal();
  const third = await open([['message:x', 'now']], { headers: { 'Last-Event-ID': second.lastEventId() } }, behind);
  await third.frame('events', 'message:slow');
  expect([third.seqs('message:known'), third.seqs('message:slow')]).toEqual([[], [1, 2]]);
});

test('a channel that is refused is told of; the others are read, and no id names it any more', async () => {
  await publish('message:there');
  const stream = await open([
    ['nowhere:x', 'start'],
    ['message:there', 'start'],
  ]);
  expect(await stream.frame('error')).toMatchObject({ id: 1, code: 'unknown_channel' });
  await stream.frame('events', 'message:there');
  expect(stream.lastEventId()).toMatch(/^message%3Athere=\w+\.1$/);
});

test('names with every sign of a query, and what is no ASCII, come back as they are', async () => {
  const names = ['message:a&b=c', 'message:100%+', 'message:ünï 日本 🚀', 'message: ', 'message:"#?;\\'];
  for (const name of names) await publish(name, 2);
  const stream = await open(names.map((name) => [name, '1'] as const));
  for (const name of names) await stream.frame('events', name);
  expect(stream.lastEventId()).toMatch(/^[!-~]+$/);
  stream.close();
  const again = await open([['message:x', 'now']], { headers: { 'Last-Event-ID': stream.lastEventId() } });
  for (const name of names) await publish(name);
  for (const name of names) {
    await again.frame('events', name);
    expect([stream.seqs(name), again.seqs(name)]).toEqual([[2], [3]]);
  }
});

test('100 channels: the id names them all, and is not too long to come back', async () => {
  const names = Array.from({ length: 100 }, (_, i) => `message:0b6a9a3e-4c1d-4a3e-9f21-${String(i).padStart(12, '0')}`);
  const stream = await open(names.map((name) => [name, 'start'] as const));
  await until(() => stream.frames.filter(({ type }) => type === 'subscribed').length === 100, { what: 'all of them' });
  stream.close();
  for (const name of names) await publish(name);
  const again = await open([['message:x', 'now']], { headers: { 'Last-Event-ID': stream.lastEventId() } });
  for (const name of names) await again.frame('events', name);
  expect(names.map((name) => again.seqs(name))).toEqual(names.map(() => [1]));
  const more = await open([...names, 'message:101st'].map((name) => [name, 'start'] as const));
  expect(await more.frame('error')).toMatchObject({ id: 101, code: 'too_many_subscriptions' });
});

test('line breaks in a column of type json do not break the stream', async () => {
  await writer.query(`
    CREATE TABLE papers (shelf int NOT NULL, paper json);
    SELECT rowcast.attach('papers', 'shelf')`);
  const paper = '{\n  "a":\r\n [1,\r 2],\n\n  "b": "x\\ny"\n}';
  await writer.query('INSERT INTO papers VALUES (1, $1), (1, $2)', [paper, '"\\r\\n"']);
  const stream = await open([['papers:1', 'start']]);
  const { events } = await stream.frame('events');
  expect(events).toEqual([
    { shelf: 1, paper: { a: [1, 2], b: 'x\ny' } },
    { shelf: 1, paper: '\r\n' },
  ]);
});

test('a comment follows soon, and then one three times a heartbeat', async () => {
  const calm = await startTestGateway(database.url, NO_RATES);
  ends.push(() => calm.stop());
  const [slow, quick] = [await open([['message:quiet', 'now']], {}, calm), await open([['message:quiet', 'now']])];
  const [began, fairly] = [performance.now(), fairNow()];
  await Promise.all([slow.frame('subscribed'), quick.frame('subscribed')]);
  expect(slow.comments()).toBe(1);
  await until(() => slow.comments() === 2, { what: 'the comment after a second' });
  expect(performance.now() - began).toBeGreaterThan(700);
  expect(fairNow() - fairly).toBeLessThan(3_000);
  await until(() => quick.comments() >= 10, { what: 'a comment each 200 ms' });
  expect(fairNow() - fairly).toBeLessThan(6_000);
  expect(quick.frames.map(({ type }) => type)).toEqual(['connected', 'subscribed']);
});

test('the frames of a POST, whose client comes back with positions in its body, have no id', async () => {
  await publish('message:post', 2);
  const body = JSON.stringify([
    { type: 'connect', id: 0, protocol: 1 },
    { type: 'subscribe', id: 1, channel: 'message:post', since: 'start' },
    { type: 'subscribe', id: 2, channel: 'nowhere:x' },
  ]);
  const stream = await openEventStream(`${gateway.url}/v1/sse`, { body });
  ends.push(() => stream.close());
  await stream.frame('events');
  await stream.frame('error');
  expect(stream.seqs('message:post')).toEqual([1, 2]);
  expect(stream.ids).toEqual([null, null, null, null]);
});

test('I6: a client that disappears leaves no subscription behind', async () => {
  const streams = await Promise.all(Array.from({ length: 20 }, () => open([['message:left', 'now']])));
  await Promise.all(streams.map((stream) => stream.frame('subscribed')));
  await publish('message:left'); // a channel is listed when it has an event
  expect(await subscribersOf('message:left')).toBe(20);
  for (const stream of streams) stream.close();
  await until(async () => (await subscribersOf('message:left')) === 0, { what: 'the subscriptions to end' });
  await connectionsGone();
});

async function subscribersOf(channel: string, at = gateway): Promise<number | undefined> {
  const { channels } = (await (await fetch(`${at.url}/v1/channels`)).json()) as {
    channels: { channel: string; subscribers: number }[];
  };
  return channels.find((entry) => entry.channel === channel)?.subscribers;
}

async function connectionsGone(): Promise<void> {
  for (const end of ends.splice(0).reverse()) await end();
  await until(async () => (await metricOf(gateway.url, 'rowcast_connections')) === 0, {
    what: 'no connection at all',
  });
}

test('I6: requests whose client is gone before they are looked at hold no place', async () => {
  const body = JSON.stringify([
    { type: 'connect', id: 0, protocol: 1 },
    { type: 'subscribe', id: 1, channel: 'message:left' },
  ]);
  const { host } = new URL(gateway.url);
  const post = (path: string) =>
    `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const get = (path: string) => `GET ${path}?channel=message:left HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  for (let round = 0; round < 25; round += 1) {
    await Promise.all(
      [post('/v1/sse'), post('/v1/poll'), get('/v1/sse'), get('/v1/poll')].map((bytes) =>
        talk(gateway.url, bytes, true),
      ),
    );
  }
  await connectionsGone();
});
