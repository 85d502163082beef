import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { SignJWT } from 'jose';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type EventStream, openEventStream, seqsOf } from '../support/event-stream.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { ask, type PollAnswer } from '../support/poll.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const SECRET = 'a secret of at least thirty-two characters';

/** Seconds that a token is good for beyond its end: clocks differ. */
const TOLERANCE = 5;

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
let ann: string;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: SECRET });
  writer = await connectWriter(database.url);
  ann = await token('ann', 600);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

/** Good for so many seconds from now, the tolerance included. */
const token = (subject: string, seconds: number) =>
  new SignJWT({ sub: subject, role: 'service_role', exp: Math.floor(Date.now() / 1000) + seconds - TOLERANCE })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET));

const publish = (channel: string) => writer.query(`SELECT rowcast.publish($1, 'note')`, [channel]);

async function open(query: string, bearer = ann): Promise<EventStream> {
  const stream = await openEventStream(`${gateway.url}/v1/sse?${query}`, {
    headers: { authorization: `Bearer ${bearer}` },
  });
  ends.push(() => stream.close());
  return stream;
}

/** Gives commands; the answer as status and code. */
async function command(session: string, commands: readonly object[], bearer = ann): Promise<string> {
  const { status, text } = await ask(`${gateway.url}/v1/commands`, {
    method: 'POST',
    headers: { authorization: `Bearer ${bearer}` },
    body: JSON.stringify({ session, commands }),
  });
  const { accepted, error } = JSON.parse(text) as { accepted?: number; error?: { code: string } };
  return `${status} ${error?.code ?? accepted}`;
}

const subscribe = (id: number, channel: string, since = 'now') => ({ type: 'subscribe', id, channel, since });

test('I4: a stream takes and leaves channels by commands, under the name that `connected` gave it', async () => {
  await publish('message:later');
  const stream = await open('channel=message:first');
  const { session } = await stream.frame('connected');
  expect(await command(String(session), [subscribe(7, 'message:later', 'start'), { type: 'ping', id: 8 }])).toBe(
    '202 2',
  );
  expect(await stream.frame('subscribed', 'message:later')).toMatchObject({ id: 7, head: 1 });
  expect(await stream.frame('pong')).toEqual({ type: 'pong', id: 8 });
  await stream.frame('events', 'message:later');
  expect(stream.lastEventId()).toMatch(/^message%3Afirst=\w+\.0&message%3Alater=\w+\.1$/);
  expect(await command(String(session), [{ type: 'unsubscribe', id: 9, channel: 'message:first' }])).toBe('202 1');
  expect(await stream.frame('unsubscribed')).toMatchObject({ id: 9, channel: 'message:first', code: 'requested' });
  await publish('message:first');
  await publish('message:later');
  await until(() => stream.lastEventId().endsWith('.2'), { what: 'what came later' });
  expect(stream.lastEventId()).toMatch(/^message%3Alater=\w+\.2$/);
  expect(stream.seqs('message:first')).toEqual([]);
});

test('commands that are refused are answered on the stream, and it goes on', async () => {
  const stream = await open('channel=message:r&session=mine');
  expect(await stream.frame('connected')).toMatchObject({ session: 'mine' });
  const wrong = [
    subscribe(1, 'message:r'),
    subscribe(2, 'nowhere:x'),
    { type: 'nonsense', id: 3 },
    { type: 'subscribe', id: 4 },
    { type: 'connect', id: 5, protocol: 1, token: ann },
    { type: 'unsubscribe', id: 6, channel: 'message:none' },
  ];
  expect(await command('mine', wrong)).toBe('202 6');
  const errors = () => stream.frames.filter(({ type }) => type === 'error');
  await until(() => errors().length === 6, { what: 'six refusals' });
  expect(
    errors()
      .map(({ id, code }) => `${id} ${code}`)
      .sort(),
  ).toEqual([
    '1 already_subscribed',
    '2 unknown_channel',
    '3 unknown_type',
    '4 invalid_frame',
    '5 already_connected',
    '6 not_subscribed',
  ]);
  await publish('message:r');
  await stream.frame('events');
});

test('a poll that waits takes commands as well, and answers with what they bring', async () => {
  await publish('message:wanted');
  const body = JSON.stringify([{ type: 'connect', id: 0, protocol: 1, token: ann }, subscribe(1, 'message:other')]);
  const asked = (): Promise<PollAnswer> => ask(`${gateway.url}/v1/poll?session=poll`, { method: 'POST', body });
  const answer = asked();
  await until(async () => (await command('poll', [subscribe(2, 'message:wanted', 'start')])) === '202 1', {
    what: 'the poll to be there',
  });
  const { frames, positions } = await answer;
  expect(seqsOf(frames, 'message:wanted')).toEqual([1]);
  expect(Object.keys(positions)).toEqual(['message:other', 'message:wanted']);
  expect(await command('poll', [{ type: 'ping', id: 1 }])).toBe('404 unknown_session'); // nothing is kept between polls
});

test('I5: no other user finds a session, and none is left when it has ended', async () => {
  const stream = await open('channel=message:s&session=mine');
  await stream.frame('subscribed');
  const ping = [{ type: 'ping', id: 1 }];
  expect(await command('mine', ping)).toBe('202 1');
  expect(await command('other', ping)).toBe('404 unknown_session');
  expect(await command('mine', ping, await token('bob', 60))).toBe('404 unknown_session');
  expect(await command('mine', ping, `${ann}x`)).toBe('401 unauthorized');
  expect(await command('mine', ping, await token('ann', -10))).toBe('401 token_expired');
  const hers = await open('channel=message:s&session=mine', await token('bob', 60));
  await hers.frame('subscribed');
  expect(await command('mine', [{ type: 'ping', id: 2 }])).toBe('202 1');
  await until(() => stream.frames.some(({ id, type }) => type === 'pong' && id === 2), { what: 'the answer to ann' });
  expect(hers.frames.map(({ type }) => type)).toEqual(['connected', 'subscribed']);
  stream.close();
  await until(async () => (await command('mine', ping)) === '404 unknown_session', { what: 'the end of the session' });
});

test('who comes back under its name takes it over from the connection that is not yet known to be dead', async () => {
  const old = await open('channel=message:n&session=back');
  await old.frame('subscribed');
  const next = await open('channel=message:n&session=back');
  await next.frame('subscribed');
  old.close();
  await publish('message:n');
  await next.frame('events');
  expect(await command('back', [{ type: 'ping', id: 1 }])).toBe('202 1');
  await next.frame('pong');
});

test('I5: a refresh with a token that is not valid ends the stream', async () => {
  const stream = await open('channel=message:t&session=refresh');
  await stream.frame('subscribed');
  expect(await command('refresh', [{ type: 'refresh', id: 1, token: `${ann}x` }])).toBe('202 1');
  await stream.ended;
  expect(stream.frames.slice(-2)).toMatchObject([
    { type: 'error', id: 1, code: 'unauthorized' },
    { type: 'error', code: 'unauthorized' },
  ]);
});

test.each([
  [{ commands: [{ type: 'ping', id: 1 }] }, 'session'],
  [{ session: 'a b', commands: [{ type: 'ping', id: 1 }] }, 'session'],
  [{ session: 'x', commands: [] }, 'commands'],
  [{ session: 'x', commands: ['ping'] }, 'commands.0'],
])('%j is refused, and the message names the field', async (body, field) => {
  const { status, text } = await ask(`${gateway.url}/v1/commands`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ann}` },
    body: JSON.stringify(body),
  });
  expect([status, JSON.parse(text)]).toEqual([
    400,
    { error: { code: 'invalid_frame', message: expect.stringContaining(`${field}:`) } },
  ]);
});

test('I6: a connection that is not read takes no commands: their replies would need room', async () => {
  const { hostname, port } = new URL(gateway.url);
  const deaf = connect(Number(port), hostname);
  deaf.on('error', () => {});
  deaf.pause();
  deaf.write(
    `GET /v1/sse?channel=message:deaf&session=deaf HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ann}\r\n\r\n`,
  );
  await until(async () => (await command('deaf', [{ type: 'ping', id: 1 }])) === '202 1', { what: 'the connection' });
  await writer.query(
    `SELECT rowcast.publish('message:deaf', 'note', to_jsonb(repeat('x', 100000))) FROM generate_series(1, 200)`,
  );
  await until(async () => (await command('deaf', [{ type: 'ping', id: 2 }])) === '429 rate_limited', {
    what: 'its buffers to be full',
  });
  deaf.destroy();
});

test('as many channels as a connection may have fit into one body', async () => {
  const wide = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_MAX_SUBSCRIPTIONS: '2000' });
  const body = JSON.stringify([
    { type: 'connect', id: 0, protocol: 1 },
    ...Array.from({ length: 2_000 }, (_, index) => subscribe(index + 1, `message:wide-${index}`)),
  ]);
  const { frames } = await ask(`${wide.url}/v1/poll?wait=0`, { method: 'POST', body });
  expect(frames.filter(({ type }) => type === 'subscribed')).toHaveLength(2_000);
  await wide.stop();
});
