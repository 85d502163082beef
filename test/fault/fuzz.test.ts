import { readdir, readlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SignJWT } from 'jose';
import type pg from 'pg';
import { codeOfClose, isErrorCode } from '../../client/protocol/index.js';
import { seed } from '../property/seed.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { MAX_FRAME_BYTES, type Visit, visits } from '../support/fuzz.js';
import { type Call, calls, readAnswers } from '../support/fuzz-http.js';
import { NO_RATES } from '../support/gateway.js';
import { heldBytes, INSPECTED } from '../support/heap.js';
import { type GatewayProcess, killAll, startGatewayProcess } from '../support/process.js';
import { encodeFrame, openRawWebSocket, PING, PONG, TEXT } from '../support/raw-websocket.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution } from '../support/writer.js';

const SECRET = 'a secret of at least thirty-two characters';
const FRAMES = 90_000;
const REQUESTS = 10_000;
const SOCKETS = 12;
const DEADLINE = 15_000;

/** What may be held after all have left, above what was held after the first round: code that was compiled, counters. */
const GROWTH = 8 * 1024 * 1024;

/** No answer tells how the gateway is made: its SQL, its tables, a stack, a path. The fuzz itself says nothing of it. */
const INSIDE =
  /\bSELECT\b|\bFROM rowcast|pg_catalog|row_to_json|SQLSTATE|violates|syntax error|node_modules|\.[jt]s:\d+|\bat .+ \(/;

let database: TestDatabase;
let gateway: GatewayProcess;
let writer: pg.Client;
let token: string;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  await writer.query('CREATE TABLE orders (id bigint NOT NULL, note text)');
  await writer.query(`SELECT rowcast.attach('orders', 'id', 'order')`);
  await writer.query(`INSERT INTO orders SELECT i % 10, 'x' FROM generate_series(1, 100) i`);
  await writer.query(`SELECT rowcast.publish('message:fuzz' || i % 10, 'x', '{}') FROM generate_series(1, 100) i`);
  await log(writer, await newExecution(writer));
  gateway = await startGatewayProcess(database.url, {
    ...INSPECTED,
    ...NO_RATES,
    ROWCAST_JWT_SECRET: SECRET,
    ROWCAST_MAX_FRAME_BYTES: `${MAX_FRAME_BYTES}`,
    ROWCAST_MAX_SUBSCRIPTIONS: '20',
  });
  token = await new SignJWT({ sub: 'fuzz' })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET));
});
afterAll(async () => {
  await gateway.stop().finally(killAll);
  await writer.end();
  await database.drop();
});

interface Answer {
  readonly type: string;
  readonly id?: number;
  readonly code?: string;
  readonly message?: string;
  readonly channel?: string;
  readonly position?: string;
  readonly from?: number;
  readonly events?: readonly unknown[];
}

const REPLIES = new Set(['connected', 'subscribed', 'unsubscribed', 'refreshed', 'pong', 'error']);

/** Pays one visit and returns how much it sent: all was answered, or the connection closed. Throws where it was not. */
async function pay({ polite, messages, hasty, ending }: Visit): Promise<number> {
  const owed = new Map<number | undefined, number>();
  const pongs: string[] = [];
  const next = new Map<string, number>();
  let [sent, answered, welcomed] = [0, 0, false];
  let last = '';
  const faults: string[] = [];
  const onFrame = (opcode: number, payload: Buffer) => {
    const text = payload.toString();
    if (opcode === PONG) {
      if (pongs.shift() !== payload.toString('latin1')) faults.push('a pong that does not belong to the ping');
      answered += 1;
      return;
    }
    if (opcode === PING) return; // the heartbeat
    if (opcode !== TEXT) return void faults.push(`a frame with the opcode ${opcode}`);
    const answer = JSON.parse(text) as Answer;
    if (answer.type !== 'events' && INSIDE.test(text)) faults.push(`it tells how it is made: ${text}`);
    if (answer.type === 'subscribed') next.set(answer.channel ?? '', 0);
    if (answer.type === 'reset') next.set(answer.channel ?? '', Number(answer.position?.split('.')[1]) + 1);
    if (answer.type === 'events') {
      const [channel, from, events] = [answer.channel ?? '', answer.from ?? 0, answer.events ?? []];
      const expected = next.get(channel);
      if (expected === undefined || (expected > 0 && from !== expected)) faults.push(`out of order: ${text}`);
      next.set(channel, from + events.length);
    }
    if (answer.type === 'error') {
      last = answer.code ?? '';
      if (!isErrorCode(last) || last === 'internal' || last === 'unavailable') faults.push(text);
    }
    if (!REPLIES.has(answer.type)) return;
    const left = owed.get(answer.id) ?? 0;
    if (left === 0) faults.push(`nobody asked: ${text}`);
    owed.set(answer.id, left - 1);
    answered += 1;
    welcomed ||= answer.type === 'connected';
  };
  const { socket, closed } = await openRawWebSocket(gateway.url, onFrame);
  let code: number | undefined;
  void closed.then((with_) => {
    code = with_;
  });
  const write = (part: Visit['messages']) => {
    for (const { expects } of part) {
      if (expects === null) continue;
      sent += 1;
      if ('reply' in expects) owed.set(expects.reply, (owed.get(expects.reply) ?? 0) + 1);
      else pongs.push(expects.pong.toString('latin1'));
    }
    socket.write(Buffer.concat(part.map(({ bytes }) => bytes)));
  };
  const waitFor = (what: string, condition: () => boolean) =>
    until(() => condition() || faults.length > 0 || code !== undefined, { deadlineMs: DEADLINE, what });
  const missing = () => `answers to ${[...owed].filter(([, count]) => count > 0).map(([id]) => id)}`;

  const hello = polite ? 1 : 0;
  write(messages.slice(0, hello));
  if (polite) await waitFor('connected', () => welcomed);
  write(messages.slice(hello));
  if (!hasty) await waitFor(missing(), () => answered === sent);
  const early = code;
  if (early === undefined) {
    socket.write(ending.bytes);
    if (ending.leave === 'end') socket.end();
    if (ending.leave === 'reset') socket.resetAndDestroy();
    await waitFor(`the end after ${ending.name}`, () => false);
  }
  const expected = ending.codes ?? [1006, 1002, 1005, 1007, 1009];
  const refused = codeOfClose(code ?? 0);
  if (faults.length > 0) throw new Error(faults.join('\n'));
  if (early === undefined && expected.includes(code ?? 0)) return sent + 1;
  // The gateway ended it for what it was sent, and has said so before (14.1), unless the code is never told otherwise.
  const announced = last === refused || refused === 'too_many_errors';
  if (refused === null || refused === 'internal' || !announced) {
    throw new Error(`closed with ${code} after ${last || 'no error'}; the end was to be ${ending.name}`);
  }
  return sent + 1;
}

/** Enough to see what it is: the rest can be made again from the seed. */
const shown = (value: unknown) => JSON.stringify(value)?.slice(0, 400);

function parsed(body: string): { error?: { code: string }; checks?: object } {
  return body.startsWith('{') ? (JSON.parse(body) as object) : {};
}

/** Makes one call and returns how many requests were answered. */
async function call({ requests, tail }: Call): Promise<number> {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  const methods = requests.map(({ method }) => method);
  let bytes: Buffer = Buffer.alloc(0);
  let closed = false;
  socket.on('error', () => {});
  socket.on('close', () => {
    closed = true;
  });
  socket.on('data', (data: Buffer) => {
    bytes = Buffer.concat([bytes, data]);
  });
  socket.write(requests.map(({ text }) => text).join(''), 'latin1');
  const read = () => readAnswers(bytes, methods).answers;
  await until(() => closed || read().length >= requests.length, {
    deadlineMs: DEADLINE,
    what: `the answers to ${shown(requests.map(({ text }) => text.slice(0, 80)))}`,
  });
  socket.end(tail);
  await until(() => closed, {
    deadlineMs: DEADLINE,
    what: `the end of the call after ${shown(tail.toString('latin1', 0, 200))}`,
  });
  const answers = read();
  if (INSIDE.test(bytes.toString())) throw new Error(`it tells how it is made: ${shown(bytes.toString())}`);
  const unanswered = requests[answers.length];
  if (unanswered)
    throw new Error(`${shown(unanswered)} had no answer, the rest was ${shown(bytes.toString().slice(-200))}`);
  for (const [index, { status, type, body }] of answers.entries()) {
    const wrong = () => new Error(`${shown(requests[index]?.text)} had ${status} ${type} ${body}`);
    const { error, checks } = parsed(body);
    if (status >= 500 && checks === undefined && index < requests.length) throw wrong();
    const told = methods[index] === 'HEAD' || status === 101;
    if (index >= requests.length || told) continue; // what is not HTTP any more needs no code
    const json = type === 'application/json' || (type === 'text/plain' && status === 200); // the latter are metrics
    const known = status < 300 || checks !== undefined || isErrorCode(error?.code ?? '');
    if (!json) throw wrong();
    if (!known) throw wrong();
  }
  return requests.length + (tail.length > 0 ? 1 : 0);
}

/** Does work after work, each made from a seed of its own, until `count` is reached. */
async function fuzz<T>(arbitrary: fc.Arbitrary<T>, from: number, count: number, does: (one: T) => Promise<number>) {
  let [done, at] = [0, from];
  const lane = async () => {
    while (done < count) {
      const own = at++;
      const [one] = fc.sample(arbitrary, { seed: own, numRuns: 1 }) as [T];
      try {
        const more = await does(one);
        done += more;
      } catch (error) {
        done = Number.POSITIVE_INFINITY;
        throw new Error(`ROWCAST_SEED=${from}, number ${own - from}: ${(error as Error).message}`);
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: SOCKETS }, lane));
  for (const result of ended) if (result.status === 'rejected') throw result.reason;
  return done;
}

/** Many that come at once, ask for much and are gone before it is there. */
async function storm(): Promise<void> {
  await Promise.all(
    Array.from({ length: 200 }, async (_, number) => {
      const { socket, closed } = await openRawWebSocket(gateway.url, () => {});
      const commands: object[] = [{ type: 'connect', id: 0, protocol: 1, token }];
      for (let id = 1; id <= 60; id++) commands.push({ type: 'subscribe', id, channel: `message:${number}-${id}` });
      socket.write(Buffer.concat(commands.map((one) => encodeFrame(TEXT, Buffer.from(JSON.stringify(one))))));
      if (number % 2 === 0) socket.resetAndDestroy();
      else socket.end();
      await closed;
    }),
  );
}

async function openSockets(): Promise<number> {
  const folder = `/proc/${gateway.pid}/fd`;
  const links = (await readdir(folder)).map((fd) => readlink(`${folder}/${fd}`).catch(() => ''));
  return (await Promise.all(links)).filter((link) => link.startsWith('socket:')).length;
}

async function sessions(): Promise<number> {
  const { rows } = await writer.query<{ count: number }>(
    `SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'rowcast %'`,
  );
  return rows[0]?.count ?? 0;
}

/** Subscribers of this gateway, and not fewer than the channels that it holds, for whomever. */
async function held(): Promise<number> {
  const response = await fetch(`${gateway.url}/v1/channels`, { headers: { authorization: `Bearer ${token}` } });
  const { channels } = (await response.json()) as { channels: { subscribers: number }[] };
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  const holds = Number(/^rowcast_channels(?:\{.*\})? (\d+)$/m.exec(metrics)?.[1]);
  return Math.max(
    holds,
    channels.reduce((sum, { subscribers }) => sum + subscribers, 0),
  );
}

test('I1 I2 I3 I6: whatever is sent is answered, nothing is left of it, and a healthy reader notices nothing', async () => {
  const from = seed('test/fault/fuzz');
  const [visit, asked] = [visits(token), calls(token)];
  const healthy = testClient({ url: gateway.url, token: () => token });
  const follower = follow(healthy, 'message:healthy');
  await follower.live();
  let [written, writing] = [0, true];
  const writes = (async () => {
    while (writing) {
      await writer.query(`SELECT rowcast.publish('message:healthy', 'x'), pg_sleep(0.01)`);
      written += 1;
    }
  })();

  const rounds = async () => {
    // The first round fills what is filled once: compiled code, the pool of the database, the cache of pages.
    await Promise.all([fuzz(visit, from - FRAMES, 5_000, pay), fuzz(asked, from - REQUESTS, 500, call), storm()]);
    await until(async () => (await held()) === 1, { what: 'all but the healthy reader to be gone' });
    const before = { bytes: await heldBytes(gateway), sockets: await openSockets(), sessions: await sessions() };

    const [frames, requests] = await Promise.all([
      fuzz(visit, from, FRAMES, pay),
      fuzz(asked, from, REQUESTS, call),
      storm(),
    ]);
    return { before, frames, requests };
  };
  const { before, frames, requests } = await rounds().finally(() => {
    writing = false;
    return writes;
  });
  await follower.count(written);
  expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, written));
  expect(follower.resets).toEqual([]);
  await until(async () => (await held()) === 1, { what: 'all but the healthy reader to be gone' });
  await until(async () => (await openSockets()) <= before.sockets, {
    deadlineMs: DEADLINE,
    what: `the sockets to be ${before.sockets} again`,
  });
  expect(await sessions()).toBeLessThanOrEqual(before.sessions);
  const grown = (await heldBytes(gateway)) - before.bytes;
  process.stderr.write(
    `${frames} frames and ${requests} requests; ${written} events for the healthy reader; held ${before.bytes} bytes, grown by ${grown}\n`,
  );
  expect(grown).toBeLessThan(GROWTH);
  healthy.close();
  await until(async () => (await held()) === 0, { what: 'no channel to be held' });
  expect(gateway.errors().replaceAll(/^(Debugger|For help).*\n/gm, '')).toBe('');
}, 120_000);
