/** @needs curl python3 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { EventSource } from 'eventsource';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { packageRoot } from '../../server/ground/package-root.js';
import { seed } from '../property/seed.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type AnyFrame, seqsOf } from '../support/event-stream.js';
import { seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { startProxy } from '../support/proxy.js';
import { makeRandom } from '../support/random.js';
import { encodeFrame, openRawWebSocket, TEXT } from '../support/raw-websocket.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
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

interface Program {
  readonly child: ChildProcess;
  /** What it has printed. */
  output(): string;
  errors(): string;
  readonly exited: Promise<unknown>;
}

function run(program: string, args: readonly string[]): Program {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks: Buffer[] = [];
  const errors: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
  const exited = once(child, 'close');
  ends.push(() => child.kill('SIGKILL'));
  return {
    child,
    exited,
    output: () => Buffer.concat(chunks).toString(),
    errors: () => Buffer.concat(errors).toString(),
  };
}

/** The frames in what `curl` has printed, and the id of the last event that was whole. */
function readEvents(text: string): { frames: AnyFrame[]; lastEventId: string | undefined } {
  const whole = text.split('\n\n').slice(0, -1);
  const lines = whole.flatMap((event) => event.split('\n'));
  return {
    frames: lines.filter((line) => line.startsWith('data: ')).map((line) => JSON.parse(line.slice(6)) as AnyFrame),
    lastEventId: lines.findLast((line) => line.startsWith('id: '))?.slice(4),
  };
}

test('I1 I2 I3: curl -N with a Last-Event-ID goes on exactly where a curl was killed, under load and again and again', async () => {
  const random = makeRandom(seed('integration/foreign-clients'));
  const channels = ['message:curl', 'message:curl ü&=%+'] as const;
  const address = `${gateway.url}/v1/sse?${new URLSearchParams([...channels.map((name) => ['channel', name]), ['since', 'start']])}`;
  const curl = (id: string | undefined) =>
    run('curl', ['-sSN', ...(id === undefined ? [] : ['-H', `Last-Event-ID: ${id}`]), address]);
  let rows = 0;
  let writing = true;
  const load = (async () => {
    for (; writing; rows += 20) await Promise.all(channels.map((channel) => publish(channel, 20)));
  })();
  const frames: AnyFrame[] = [];
  let id: string | undefined;
  let killedWithEvents = 0;
  for (let round = 0; round < 25; round += 1) {
    const { child, output, errors, exited } = curl(id);
    const enough = random.int(0, 20_000);
    await until(() => output().length > 2_100 + enough, { what: `output of curl (${errors()})` });
    child.kill('SIGKILL');
    await exited;
    const read = readEvents(output());
    frames.push(...read.frames);
    id = read.lastEventId ?? id;
    if (read.frames.some(({ type }) => type === 'events')) killedWithEvents += 1;
  }
  writing = false;
  await load;
  const last = curl(id);
  const all = () => [...frames, ...readEvents(last.output()).frames];
  for (const channel of channels) {
    await until(() => seqsOf(all(), channel).at(-1) === rows, { what: `the last of ${rows} events` });
    expect(seqsOf(all(), channel)).toEqual(seqs(1, rows));
  }
  expect(killedWithEvents).toBeGreaterThan(15);
}, 60_000);

test('curl that speaks HTTP/1.0 gets the stream as well', async () => {
  await publish('message:old', 2);
  const { output, errors } = run('curl', [
    '-sSNi',
    '--http1.0',
    `${gateway.url}/v1/sse?channel=message:old&since=start`,
  ]);
  await until(() => output().includes('"type":"events"'), { what: `events (${errors()})` });
  expect(output()).toMatch(/^HTTP\/1\.[01] 200 OK\r\n/);
  expect(output()).not.toMatch(/^Transfer-Encoding/im);
  await publish('message:old');
  await until(() => seqsOf(readEvents(output().split('\r\n\r\n')[1] ?? '').frames, 'message:old').length === 3, {
    what: 'what comes live',
  });
});

test('I1 I2 I3: the package eventsource comes back by itself whenever it is cut, and gets each event once', async () => {
  const proxy = await startProxy(Number(new URL(gateway.url).port));
  ends.push(() => proxy.close());
  const channels = ['message:es1', 'message:es2'] as const;
  const source = new EventSource(
    proxy.via(`${gateway.url}/v1/sse?channel=${channels[0]}&channel=nowhere:x&channel=${channels[1]}&since=start`),
  );
  ends.push(() => source.close());
  const frames: AnyFrame[] = [];
  let opened = 0;
  source.onopen = () => {
    opened += 1;
  };
  source.onmessage = ({ data }) => frames.push(JSON.parse(String(data)) as AnyFrame);
  let rows = 0;
  const write = async (count: number) => {
    for (const channel of channels) await publish(channel, count);
    rows += count;
  };
  const arrived = () => channels.every((channel) => seqsOf(frames, channel).at(-1) === rows);
  await write(10);
  for (const cut of ['reset', 'in the middle', 'refuse', 'in the middle'] as const) {
    await until(arrived, { what: `${rows} events` });
    const before = opened;
    if (cut === 'in the middle')
      proxy.cutAfter(2_500, 'down'); // after the padding of the next one as well
    else proxy.reset();
    if (cut === 'refuse') proxy.refuse();
    await write(50);
    await until(() => source.readyState === EventSource.CONNECTING, { what: 'the loss to be noticed' });
    await write(50);
    proxy.heal();
    await until(() => opened > before, { what: 'it to come back' });
  }
  await until(arrived, { what: `all ${rows} events` });
  for (const channel of channels) expect(seqsOf(frames, channel)).toEqual(seqs(1, rows));
  // The channel that does not exist was refused once, and is in no id.
  expect(frames.filter(({ type }) => type === 'error')).toMatchObject([{ code: 'unknown_channel' }]);
}, 60_000);

test('the package eventsource stays away from what will never be there', async () => {
  const source = new EventSource(`${gateway.url}/v1/sse?channel=nowhere:x`);
  ends.push(() => source.close());
  const [event] = (await once(source as never, 'error')) as [{ code?: number }];
  expect([event.code, source.readyState]).toEqual([404, EventSource.CLOSED]);
});

test('a WebSocket whose frames are typed by hand, as with websocat', async () => {
  await publish('message:typed', 3);
  const frames: AnyFrame[] = [];
  const { socket } = await openRawWebSocket(gateway.url, (_, payload) => {
    frames.push(JSON.parse(payload.toString()) as AnyFrame);
  });
  ends.push(() => socket.destroy());
  const type = (line: string) => socket.write(encodeFrame(TEXT, Buffer.from(line)));
  type('{"type":"connect","id":1,"protocol":1}\n');
  await until(() => frames.length === 1, { what: 'connected' });
  type(' {"type": "subscribe", "id": 2, "channel": "message:typed", "since": "1"} ');
  await until(() => seqsOf(frames, 'message:typed').length === 2, { what: 'events' });
  await publish('message:typed');
  await until(() => seqsOf(frames, 'message:typed').length === 3, { what: 'what comes live' });
  expect(seqsOf(frames, 'message:typed')).toEqual([2, 3, 4]);
});

test('I1 I2 I3: a loop of Python’s standard library follows by long polling, also over a restart', async () => {
  const channels = ['message:py', 'message:py ü&=%+'];
  const rows = 300;
  let own = await startTestGateway(database.url, NO_RATES);
  const { port } = new URL(own.url);
  const script = join(packageRoot(), 'test/support/long-poll.py');
  const { output, errors, exited } = run('python3', [script, own.url, `${rows}`, ...channels]);
  for (let done = 0; done < rows; done += 50) {
    for (const channel of channels) await publish(channel, 50);
    if (done === 100) {
      await until(() => output().length > 0, { what: `the first events (${errors()})` });
      await own.stop();
    }
    if (done === 200) own = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_PORT: port });
  }
  ends.push(() => own.stop());
  expect(await exited).toEqual([0, null]);
  const lines = output().trim().split('\n');
  for (const channel of channels) {
    const seen = lines
      .filter((line) => line.replace(/ \d+$/, '') === channel)
      .map((line) => Number(/\d+$/.exec(line)?.[0]));
    expect(seen).toEqual(seqs(1, rows));
  }
}, 60_000);
