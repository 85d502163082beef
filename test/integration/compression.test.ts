import { once } from 'node:events';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { WebSocket } from 'ws';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type AnyFrame, openEventStream, seqsOf } from '../support/event-stream.js';
import { seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { heldBytes, INSPECTED } from '../support/heap.js';
import { killAll, startGatewayProcess } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let plain: Gateway;
let compressing: Gateway;
let writer: pg.Client;

const publish = (channel: string, count: number, size: number) =>
  writer.query(
    `SELECT rowcast.publish($1, 'note', to_jsonb(repeat('all work and no play ', $3::int / 21))) FROM generate_series(1, $2::int)`,
    [channel, count, size],
  );

beforeAll(async () => {
  database = await createDatabase();
  plain = await startTestGateway(database.url, NO_RATES);
  compressing = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_COMPRESSION: 'on' });
  writer = await connectWriter(database.url);
  await publish('message:large', 20, 10_000);
  await publish('message:small', 1, 100);
});
afterAll(async () => {
  killAll();
  await writer.end();
  await plain.stop();
  await compressing.stop();
  await database.drop();
});

interface RawAnswer {
  readonly encoding: string | undefined;
  readonly vary: string | undefined;
  readonly body: Buffer;
}

function ask({ url }: Gateway, channel: string, accepted?: string): Promise<RawAnswer> {
  const headers = accepted === undefined ? {} : { 'accept-encoding': accepted };
  return new Promise((resolve, reject) => {
    const asked = request(`${url}/v1/poll?channel=${channel}&since=start`, { headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const { 'content-encoding': encoding, vary } = response.headers;
        resolve({ encoding, vary, body: Buffer.concat(chunks) });
      });
    });
    asked.on('error', reject);
    asked.end();
  });
}

test('answers to polls are compressed where that is set, for who takes it, and if it is worth it', async () => {
  const small = await ask(compressing, 'message:large', 'br, gzip;q=0.5');
  const whole = await ask(plain, 'message:large', 'gzip');
  expect([small.encoding, whole.encoding]).toEqual(['gzip', undefined]);
  expect(small.vary).toContain('Accept-Encoding');
  expect(gunzipSync(small.body)).toEqual(whole.body);
  expect(small.body.length).toBeLessThan(whole.body.length / 10);
  for (const accepted of [undefined, 'br', 'gzip;q=0', 'identity, gzip;q=0.5']) {
    const answer = await ask(compressing, 'message:large', accepted);
    expect([accepted, answer.encoding, answer.body.equals(whole.body)]).toEqual([accepted, undefined, true]);
    expect(answer.vary).toContain('Accept-Encoding');
  }
  expect((await ask(compressing, 'message:small', 'gzip')).encoding).toBeUndefined();
});

test('a stream of events is never compressed', async () => {
  const stream = await openEventStream(`${compressing.url}/v1/sse?channel=message:large&since=start`, {
    headers: { 'accept-encoding': 'gzip' },
  });
  await stream.frame('events');
  expect(stream.headers['content-encoding']).toBeUndefined();
  expect(stream.seqs('message:large')).toEqual(seqs(1, 20));
  stream.close();
});

/** Reads a channel from the start; the bytes that it took. */
async function read({ url }: Gateway, channel: string, events: number, offer: boolean) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/ws`, { perMessageDeflate: offer });
  let carrier: Socket | undefined;
  socket.on('upgrade', (response) => {
    carrier = response.socket;
  });
  const frames: AnyFrame[] = [];
  socket.on('message', (data) => frames.push(JSON.parse(String(data)) as AnyFrame));
  await once(socket, 'open');
  const { extensions } = socket;
  socket.send(JSON.stringify({ type: 'connect', id: 1, protocol: 1 }));
  await once(socket, 'message');
  socket.send(JSON.stringify({ type: 'subscribe', id: 2, channel, since: 'start' }));
  await until(() => seqsOf(frames, channel).length === events, { deadlineMs: 20_000, what: `${events} events` });
  socket.terminate();
  expect(seqsOf(frames, channel)).toEqual(seqs(1, events));
  return { extensions, bytes: carrier?.bytesRead ?? 0 };
}

test('frames of a WebSocket are compressed where that is set and offered', async () => {
  const small = await read(compressing, 'message:large', 20, true);
  const whole = await read(plain, 'message:large', 20, true);
  const unasked = await read(compressing, 'message:large', 20, false);
  expect(small.extensions).toContain('permessage-deflate');
  expect([whole.extensions, unasked.extensions]).toEqual(['', '']);
  expect(whole.bytes).toBeGreaterThan(200_000);
  expect(Math.abs(unasked.bytes - whole.bytes)).toBeLessThan(1_000);
  expect(small.bytes).toBeLessThan(whole.bytes / 10);
});

test('I1 I2 I3 I6: a compressed reader that stops reading stands still, and gets the rest when it reads again', async () => {
  const gateway = await startGatewayProcess(database.url, {
    ...NO_RATES,
    ...INSPECTED,
    ROWCAST_COMPRESSION: 'on',
    ROWCAST_CACHE_BYTES: `${1024 ** 2}`,
  });
  // What does not shrink: else all of it would fit into the buffers of the sockets.
  await writer.query(
    `SELECT rowcast.publish('message:noise', 'note', to_jsonb((SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 1500) WHERE i > 0)))
       FROM generate_series(1, 600) i`,
  );
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/v1/ws`);
  const frames: AnyFrame[] = [];
  socket.on('message', (data) => frames.push(JSON.parse(String(data)) as AnyFrame));
  await once(socket, 'open');
  expect(socket.extensions).toContain('permessage-deflate');
  socket.send(JSON.stringify({ type: 'connect', id: 1, protocol: 1 }));
  await once(socket, 'message');
  const before = await heldBytes(gateway);
  socket.pause();
  socket.send(JSON.stringify({ type: 'subscribe', id: 2, channel: 'message:noise', since: 'start' }));
  const other = await openEventStream(`${gateway.url}/v1/sse?channel=message:noise&since=start`);
  await until(() => other.seqs('message:noise').at(-1) === 600, {
    deadlineMs: 20_000,
    what: 'another to have them all',
  });
  other.close();
  expect((await heldBytes(gateway)) - before).toBeLessThan(8 * 1024 ** 2); // of 29
  expect(frames.at(-1)?.type).toBe('connected');
  socket.resume();
  await until(() => seqsOf(frames, 'message:noise').length === 600, { deadlineMs: 20_000, what: 'the rest' });
  expect(seqsOf(frames, 'message:noise')).toEqual(seqs(1, 600));
  socket.terminate();
  await gateway.stop();
}, 60_000);
