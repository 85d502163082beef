import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { WebSocket } from 'ws';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { connectWith } from '../support/doors.js';
import { type EventStream, openEventStream } from '../support/event-stream.js';
import { type Claims, signWith } from '../support/issuer.js';
import { startLoggingGateway } from '../support/log-lines.js';
import { ask } from '../support/poll.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const SECRET = 'a secret of at least thirty-two characters';
const sign = signWith(Buffer.from(SECRET), { alg: 'HS256' });
const CHANNEL = 'message:tickets';

let database: TestDatabase;
let gateways: [Gateway, Gateway];
let writer: pg.Client;
const lines: string[] = [];
const given: string[] = [];
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  database = await createDatabase();
  const start = () => startLoggingGateway(database.url, { ROWCAST_JWT_SECRET: SECRET }, lines);
  gateways = [await start(), await start()];
  writer = await connectWriter(database.url);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  await writer.end();
  for (const gateway of gateways) await gateway.stop();
  await database.drop();
});

const publish = () => writer.query(`SELECT rowcast.publish($1, 'note')`, [CHANNEL]);

const requestTicket = (token: string | undefined, method = 'POST') =>
  ask(`${gateways[0].url}/v1/tickets`, { method, headers: token ? { authorization: `Bearer ${token}` } : {} });

async function newTicket(claims: Claims = {}): Promise<string> {
  const { status, text } = await requestTicket(await sign({ role: 'service_role', ...claims }));
  expect(status).toBe(201);
  const { ticket } = JSON.parse(text) as { ticket: string };
  given.push(ticket);
  return ticket;
}

async function open(query: string, headers: Record<string, string> = {}): Promise<EventStream> {
  const stream = await openEventStream(`${gateways[1].url}/v1/sse?${query}`, { headers });
  ends.push(() => stream.close());
  return stream;
}

const hashOf = (ticket: string) => createHash('sha256').update(ticket).digest();

/** How many rows the table has of a ticket that are so. */
async function stored(ticket: string, condition: string): Promise<number> {
  const found = await writer.query(`SELECT FROM rowcast.tickets WHERE hash = $1 AND ${condition}`, [hashOf(ticket)]);
  return found.rows.length;
}

const pollWith = (gateway: Gateway, ticket: string, since = 'now') =>
  ask(`${gateway.url}/v1/poll?channel=${CHANNEL}&since=${since}&wait=0&ticket=${ticket}`);

test('a token buys a ticket of 256 random bits, of which the table has the hash alone', async () => {
  const answer = await requestTicket(await sign({ sub: 'ann', role: 'service_role' }));
  expect([answer.status, answer.headers.get('cache-control')]).toEqual([201, 'no-store']);
  const { ticket, ...rest } = JSON.parse(answer.text) as { ticket: string };
  given.push(ticket);
  expect(rest).toEqual({ expiresIn: 30 });
  expect(Buffer.from(ticket, 'base64url')).toHaveLength(32);
  const { rows } = await writer.query(
    `SELECT t::text AS stored, subject, role, claims::jsonb ->> 'sub' AS sub,
       extract(epoch FROM expires_at - now())::int AS good_for FROM rowcast.tickets t WHERE hash = $1`,
    [hashOf(ticket)],
  );
  expect(rows).toEqual([expect.objectContaining({ subject: 'ann', role: 'service_role', sub: 'ann' })]);
  expect(rows[0].stored).not.toContain(ticket);
  expect(rows[0].good_for).toBeGreaterThanOrEqual(28);
  expect(rows[0].good_for).toBeLessThanOrEqual(30);
});

test('I5: a ticket opens any door of any gateway, once', async () => {
  const uses: ((ticket: string) => Promise<string>)[] = [
    (ticket) => connectWith(gateways[1].url, { ticket }),
    async (ticket) => ((await pollWith(gateways[1], ticket)).status === 200 ? 'in' : 'refused'),
    async (ticket) => ((await open(`channel=${CHANNEL}&ticket=${ticket}`)).status === 200 ? 'in' : 'refused'),
    async (ticket) => {
      const body = JSON.stringify([{ type: 'connect', id: 0, protocol: 1, ticket }]);
      return (await ask(`${gateways[1].url}/v1/poll?wait=0`, { method: 'POST', body })).status === 200
        ? 'in'
        : 'refused';
    },
  ];
  for (const use of uses) {
    const ticket = await newTicket();
    expect(await use(ticket)).toBe('in');
    for (const gateway of gateways) {
      expect(await connectWith(gateway.url, { ticket })).toBe('4501 unauthorized');
      const again = await pollWith(gateway, ticket);
      expect([again.status, JSON.parse(again.text).error.code]).toEqual([401, 'unauthorized']);
    }
  }
});

test('I5: of twenty who show one ticket at once, to two gateways, one gets in', async () => {
  const ticket = await newTicket();
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => connectWith(gateways[n % 2 === 0 ? 0 : 1].url, { ticket })),
  );
  expect(answers.filter((answer) => answer === 'in')).toHaveLength(1);
  expect(answers.filter((answer) => answer === '4501 unauthorized')).toHaveLength(19);
});

test('I5: a ticket that is too old, made up or not one is refused, and so is one whose token has ended', async () => {
  const old = await newTicket();
  await writer.query('UPDATE rowcast.tickets SET expires_at = now() WHERE hash = $1', [hashOf(old)]);
  const made = Buffer.alloc(32, 7).toString('base64url');
  for (const ticket of [old, old, made, 'x', "' OR true --", '\0']) {
    expect(await connectWith(gateways[0].url, { ticket })).toBe('4501 unauthorized');
  }
  expect((await pollWith(gateways[0], 'x'.repeat(200))).status).toBe(400);
  expect((await pollWith(gateways[0], '')).status).toBe(400);
  expect(await stored(old, 'true')).toBe(0);
  const late = await newTicket({ exp: -4 }); // within the tolerance of clocks, for a second
  const ended = async () => (await stored(late, 'token_expires_at < now()')) === 1;
  await until(ended, { what: 'the token to end' });
  expect(await connectWith(gateways[0].url, { ticket: late })).toBe('4004 token_expired');
});

test('I5: who came with a ticket is there until its token ends', async () => {
  const ticket = await newTicket({ exp: -3 }); // within the tolerance of clocks, for two seconds
  const socket = new WebSocket(`${gateways[0].url.replace('http', 'ws')}/v1/ws`);
  ends.push(() => socket.terminate());
  const frames: Record<string, unknown>[] = [];
  socket.on('message', (data) => frames.push(JSON.parse(String(data))));
  await new Promise((resolve) => socket.once('open', resolve));
  socket.send(JSON.stringify({ type: 'connect', id: 0, protocol: 1, ticket }));
  const paused = await until(() => frames.find(({ type }) => type === 'paused'), { what: 'the pause' });
  expect(frames[0]).toMatchObject({ type: 'connected' });
  expect(paused).toEqual({ type: 'paused', code: 'token_expired' });
  const token = await sign({ role: 'service_role' });
  socket.send(JSON.stringify({ type: 'refresh', id: 1, token }));
  await until(() => frames.some(({ type }) => type === 'refreshed'), { what: 'the fresh token to be taken' });
});

test('I1 I2 I3: an event stream that broke goes on with a new ticket and the positions of the old one', async () => {
  await publish();
  const first = `channel=${CHANNEL}&since=start&ticket=${await newTicket()}`;
  const stream = await open(first);
  await stream.frame('events');
  await publish();
  await until(() => stream.seqs(CHANNEL).length === 2, { what: 'the second event' });
  stream.close();
  await publish();
  // An EventSource comes back by itself, to the same address: it is told to stay away.
  const back = await open(first, { 'Last-Event-ID': stream.lastEventId() });
  expect([back.status, back.headers['content-type']]).toEqual([401, expect.stringContaining('application/json')]);
  const resumed = new URLSearchParams({
    channel: CHANNEL,
    lastEventId: stream.lastEventId(),
    ticket: await newTicket(),
  });
  const next = await open(`${resumed}`);
  await next.frame('events');
  expect([...stream.seqs(CHANNEL), ...next.seqs(CHANNEL)]).toEqual([1, 2, 3]);
  // What the browser remembers by itself is newer than what its page had put into the address.
  resumed.set('ticket', await newTicket());
  const newest = await open(`${resumed}`, { 'Last-Event-ID': next.lastEventId() });
  await newest.frame('subscribed');
  await publish();
  await newest.frame('events');
  expect(newest.seqs(CHANNEL)).toEqual([4]);
});

test('no cache keeps what a ticket has opened', async () => {
  await publish();
  const { positions } = await pollWith(gateways[0], await newTicket(), 'start');
  const start = String(positions[CHANNEL]).replace(/\d+$/, '0');
  const page = await pollWith(gateways[0], await newTicket(), start);
  expect(page.frames.length).toBeGreaterThan(0);
  expect(page.headers.get('cache-control')).toBe('no-store');
});

test('without a good token there is no ticket', async () => {
  const asked = [undefined, 'garbage', await sign({ exp: -60 }), await sign({ role: 'anon' })];
  const answers = await Promise.all(asked.map(async (token) => (await requestTicket(token)).status));
  expect(answers).toEqual([401, 401, 401, 401]);
  expect((await requestTicket(await sign(), 'GET')).status).toBe(405);
});

test('no line of the log holds a ticket', async () => {
  const log = lines.join('');
  expect(log).toContain('gateway started');
  expect(given.length).toBeGreaterThan(10);
  expect(given.filter((ticket) => log.includes(ticket))).toEqual([]);
});
