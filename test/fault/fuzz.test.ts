import { readdir, readlink } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SignJWT } from 'jose';
import type pg from 'pg';
import { codeOfClose } from '../../client/protocol/index.js';
import { seed } from '../property/seed.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { openEventStream } from '../support/event-stream.js';
import { follow, seqs } from '../support/follow.js';
import { MAX_FRAME_BYTES, type Visit, visits } from '../support/fuzz.js';
import { makeCall, makeStay } from '../support/fuzz-callers.js';
import { calls } from '../support/fuzz-http.js';
import { type AnyFrame, frameJudge, isReply } from '../support/fuzz-judge.js';
import { stays } from '../support/fuzz-stays.js';
import { NO_RATES } from '../support/gateway.js';
import { heldBytes, INSPECTED } from '../support/heap.js';
import { metricOf } from '../support/metrics.js';
import { poll } from '../support/poll.js';
import { type GatewayProcess, killAll, startGatewayProcess } from '../support/process.js';
import { encodeFrame, openRawWebSocket, PING, PONG, TEXT } from '../support/raw-websocket.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution } from '../support/writer.js';

const SECRET = 'a secret of at least thirty-two characters';
const FRAMES = 30_000;
const REQUESTS = 4_000;
const STAYS = 800;
const SOCKETS = 12;
const DEADLINE = 15_000;

/** What may be held after all have left, above what was held after the first round: code that was compiled, counters. */
const GROWTH = 8 * 1024 * 1024;

/** A database that is slow because the machine is busy is none that is away, of which a client would hear. */
const PATIENT = { ROWCAST_SILENCE_TIMEOUT: '60000', ROWCAST_QUERY_TIMEOUT: '60000' };

let database: TestDatabase;
let gateway: GatewayProcess;
let writer: pg.Client;
let token: string;

function signed(sub: string): Promise<string> {
  return new SignJWT({ sub, role: 'service_role' })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET));
}

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  await writer.query('CREATE TABLE orders (id bigint NOT NULL, note text)');
  await writer.query(`SELECT rowcast.attach('orders', 'id', 'order')`);
  await writer.query(`INSERT INTO orders SELECT i % 10, 'x' FROM generate_series(1, 100) i`);
  await writer.query(`SELECT rowcast.publish('message:fuzz' || i % 10, 'x', '{}') FROM generate_series(1, 100) i`);
  await log(writer, await newExecution(writer));
  gateway = await startGatewayProcess(
    database.url,
    { ...INSPECTED, ...NO_RATES, ...PATIENT, ROWCAST_JWT_SECRET: SECRET, ROWCAST_MAX_SUBSCRIPTIONS: '20' },
    { maxFrameBytes: MAX_FRAME_BYTES, channelLinger: 500 },
  );
  token = await signed('fuzz');
});
afterAll(async () => {
  await gateway.stop().finally(killAll);
  await writer.end();
  await database.drop();
});

/** Pays one visit and returns how much it sent: all was answered, or the connection closed. Throws where it was not. */
async function pay({ polite, messages, hasty, ending }: Visit): Promise<number> {
  const owed = new Map<number | undefined, number>();
  const pongs: string[] = [];
  const judge = frameJudge();
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
    const answer = JSON.parse(text) as AnyFrame;
    const fault = judge(answer);
    if (fault !== null) faults.push(fault);
    if (answer.type === 'error') last = answer.code ?? '';
    if (!isReply(answer)) return;
    // Before `connected` the bytes of all commands together are limited: the error then answers no single command.
    if (answer.code === 'frame_too_large' && answer.id === undefined && !welcomed && !owed.get(undefined)) return;
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

/** What readers cost this gateway: its connections, their subscriptions, and the channels that it has in memory. */
async function held(): Promise<number[]> {
  const gauges = ['connections', 'subscriptions', 'channels'];
  return Promise.all(gauges.map((name) => metricOf(gateway.url, `rowcast_${name}`)));
}

const HEALTHY = 'message:healthy';

/** A reader that asks again and again, and takes the positions that it is given; ends when it has so many events. */
async function readByPolls(count: () => number): Promise<number[]> {
  const headers = { authorization: `Bearer ${await signed('healthy')}` };
  const read: number[] = [];
  let since = 'start';
  while (read.length < count()) {
    const { status, frames, positions } = await poll(gateway.url, [[HEALTHY, since]], 1, { headers });
    expect([status, frames.filter(({ type }) => type !== 'events')]).toEqual([200, []]);
    for (const { from = 0, events = [] } of frames) read.push(...events.map((_, index) => from + index));
    since = positions[HEALTHY] ?? '';
  }
  return read;
}

test('I1 I2 I3 I6: whatever is sent is answered, nothing is left of it, and a healthy reader notices nothing', async () => {
  const from = seed('test/fault/fuzz');
  const [visit, asked, stay] = [visits(token), calls(token), stays(token)];
  const healthy = testClient({ url: gateway.url, token: () => token });
  const follower = follow(healthy, HEALTHY);
  await follower.live();
  // The fuzz, another principal, calls it by this name.
  const stream = await openEventStream(`${gateway.url}/v1/sse?channel=${HEALTHY}&session=healthy`, {
    headers: { authorization: `Bearer ${await signed('healthy')}` },
  });
  await stream.frame('subscribed');
  let [written, writing, total] = [0, true, Number.POSITIVE_INFINITY];
  const polled = readByPolls(() => total);
  const writes = (async () => {
    while (writing) {
      await writer.query(`SELECT rowcast.publish($1, 'x'), pg_sleep(0.01)`, [HEALTHY]);
      written += 1;
    }
    total = written;
  })();

  const round = (start: number, [frames, requests, lasting]: readonly [number, number, number]) =>
    Promise.all([
      fuzz(visit, start, frames, pay),
      fuzz(asked, start, requests, (one) => makeCall(gateway.url, one)),
      fuzz(stay, start, lasting, (one) => makeStay(gateway.url, one)),
      storm(),
    ]);
  const rounds = async () => {
    // The first round fills what is filled once: compiled code, the pool of the database, the cache of pages.
    await round(from - FRAMES, [4_000, 500, 200]);
    await until(async () => (await held()).every((count, index) => count <= ([3, 3, 1][index] ?? 0)), {
      what: 'all but the healthy readers to be gone',
    });
    const before = { bytes: await heldBytes(gateway), sockets: await openSockets(), sessions: await sessions() };
    return { before, done: await round(from, [FRAMES, REQUESTS, STAYS]) };
  };
  const { before, done } = await rounds().finally(() => {
    writing = false;
    return writes;
  });
  const all = seqs(1, written);
  await follower.count(written);
  expect(follower.events.map(({ seq }) => seq)).toEqual(all);
  expect(follower.resets).toEqual([]);
  expect(await polled).toEqual(all);
  await until(() => stream.seqs(HEALTHY).length >= written, { what: 'the stream to have all' });
  expect(stream.seqs(HEALTHY)).toEqual(all);
  expect(stream.frames.filter(({ type }) => type !== 'events').map(({ type }) => type)).toEqual([
    'connected',
    'subscribed',
  ]);
  await until(async () => `${await held()}` === '2,2,1', { what: 'all but the healthy readers to be gone' });
  await until(async () => (await openSockets()) <= before.sockets, {
    deadlineMs: DEADLINE,
    what: `the sockets to be ${before.sockets} again`,
  });
  expect(await sessions()).toBeLessThanOrEqual(before.sessions);
  const grown = (await heldBytes(gateway)) - before.bytes;
  process.stderr.write(
    `frames, requests, stays: ${done.slice(0, 3)}; ${written} events for each healthy reader; held ${before.bytes} bytes, grown by ${grown}\n`,
  );
  expect(grown).toBeLessThan(GROWTH);
  healthy.close();
  stream.close();
  await until(async () => `${await held()}` === '0,0,0', { what: 'nothing to be held' });
  expect(gateway.errors().replaceAll(/^(Debugger|For help).*\n/gm, '')).toBe('');
}, 120_000);
