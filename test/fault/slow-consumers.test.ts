import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { seqs } from '../support/follow.js';
import { heldBytes, INSPECTED } from '../support/heap.js';
import { type GatewayProcess, killAll, startGatewayProcess } from '../support/process.js';
import { encodeFrame, openRawWebSocket, TEXT } from '../support/raw-websocket.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const MiB = 1024 * 1024;
const CHANNELS = 20;
const SLOW = 200;
/** So many events of each channel pass before the slow readers are there: 40 MB; and so many past them: 200 MB. */
const WARM = 100;
const EVENTS = 500;
const PADDING = 20_000;
const AT_ONCE = 10;

/** What the process may take at most, above what it takes when the slow readers are there and nothing moves. */
const GROWTH = 100 * MiB;
/** What of that may still be held when all garbage was collected: the cache, and 256 KiB for each, shared or not. */
const HELD = 50 * MiB;
/** In milliseconds, on a machine that may be busy with other things. */
const P99 = 5_000;

let database: TestDatabase;
let gateway: GatewayProcess;
let writer: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startGatewayProcess(database.url, INSPECTED);
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  await gateway.stop().finally(killAll);
  await writer.end();
  await database.drop();
});

interface SlowReader {
  /** The numbers of the events that have come. */
  readonly seen: () => number;
  /** The first thing that was not as it had to be. */
  readonly fault: () => string | undefined;
  readonly resume: () => void;
  readonly leave: () => Promise<number>;
}

/** Subscribes and stops reading: what is sent to it then stays in the buffers on the way. */
async function slowReader(channel: string): Promise<SlowReader> {
  let [seen, live] = [WARM, false];
  let fault: string | undefined;
  const onFrame = (opcode: number, payload: Buffer) => {
    if (opcode !== TEXT) return;
    const head = payload.toString('latin1', 0, 200);
    live ||= head.includes('"subscribed"');
    if (!head.startsWith('{"type":"events"')) {
      if (!/"(connected|subscribed)"/.test(head)) fault ??= head;
      return;
    }
    const from = Number(/"from":(\d+)/.exec(head)?.[1]);
    if (from !== seen + 1) fault ??= `${from} follows ${seen}`;
    // Each event says its number: 2 GB are not parsed, but looked through.
    for (let at = payload.indexOf('{"n": '); at >= 0; at = payload.indexOf('{"n": ', at + PADDING)) {
      seen += 1;
      const number = Number.parseInt(payload.toString('latin1', at + 6, at + 16), 10);
      if (number !== seen) fault ??= `the event ${number} at the place of ${seen}`;
    }
  };
  const { socket, closed } = await openRawWebSocket(gateway.url, onFrame);
  const send = (frame: object) => socket.write(encodeFrame(TEXT, Buffer.from(JSON.stringify(frame))));
  let connected = false;
  socket.once('data', () => {
    connected = true;
  });
  send({ type: 'connect', id: 1, protocol: 1 });
  await until(() => connected, { what: 'connected' });
  send({ type: 'subscribe', id: 2, channel });
  await until(() => live, { what: 'subscribed' });
  socket.pause();
  return {
    seen: () => seen,
    fault: () => fault,
    resume: () => socket.resume(),
    leave: () => {
      socket.destroy();
      return closed;
    },
  };
}

/** Writes the events `first` to `last` of every channel, a few in turn, no faster than `followed` says. */
async function write(first: number, last: number, followed: (seq: number) => boolean): Promise<void> {
  for (let from = first; from <= last; from += AT_ONCE) {
    await until(() => followed(from - 1 - AT_ONCE), { deadlineMs: 30_000, what: `the healthy reader to have ${from}` });
    await writer.query(
      `INSERT INTO rowcast.messages (key, event_type, data)
         SELECT 'slow' || c, 'log', jsonb_build_object('n', i, 'at', $1::float8, 'padding', repeat('x', ${PADDING}))
           FROM generate_series(1, ${CHANNELS}) c, generate_series($2::int, $3::int) i ORDER BY c, i`,
      [Date.now(), from, from + AT_ONCE - 1],
    );
  }
}

test('I1 I2 I3 I6 I9: 200 readers that stand still while 200 MB pass cost no memory, delay nobody and miss nothing', async () => {
  const channels = Array.from({ length: CHANNELS }, (_, index) => `message:slow${index + 1}`);
  const healthy = testClient({ url: gateway.url });
  const latencies: number[] = [];
  const numbers = new Map<string, number[]>();
  const subscriptions = channels.map((channel) => {
    numbers.set(channel, []);
    return healthy.subscribe(channel, {
      onEvent: ({ seq, row }) => {
        numbers.get(channel)?.push(seq);
        latencies.push(Date.now() - Number((row.data as { at: number }).at));
      },
    });
  });
  await until(() => subscriptions.every(({ state }) => state === 'live'), { what: 'the healthy reader' });
  const followed = (seq: number) => channels.every((channel) => (numbers.get(channel)?.at(-1) ?? 0) >= seq);
  /** Writes events and watches; gives the most memory that was taken meanwhile, in bytes, and the latencies. */
  const pass = async (first: number, last: number) => {
    latencies.length = 0;
    let [peak, watching] = [0, true];
    const look = async () => {
      peak = Math.max(peak, await gateway.memory());
      return !watching;
    };
    const watch = until(look, { deadlineMs: 60_000, what: 'the end of the pass' });
    const began = Date.now();
    const all = async () => {
      await write(first, last, followed);
      await until(() => followed(last), { deadlineMs: 30_000, what: `the healthy reader to have ${last}` });
    };
    await all().finally(() => {
      watching = false;
      return watch;
    });
    const sorted = latencies.toSorted((a, b) => a - b);
    const [p50, p99] = [0.5, 0.99].map((share) => sorted[Math.floor(sorted.length * share)] ?? 0);
    return { peak, took: Date.now() - began, p50, p99: p99 ?? 0 };
  };

  const warm = await pass(1, WARM);
  const readers = await Promise.all(
    Array.from({ length: SLOW }, (_, index) => slowReader(channels[index % CHANNELS] ?? '')),
  );
  const heldBefore = await heldBytes(gateway);
  const before = await gateway.memory();
  const past = await pass(WARM + 1, WARM + EVENTS);
  const held = (await heldBytes(gateway)) - heldBefore;
  for (const channel of channels) expect(numbers.get(channel)).toEqual(seqs(1, WARM + EVENTS));
  const shown = ({ peak, took, p50, p99 }: typeof past) =>
    `${took} ms, at most ${Math.round(peak / MiB)} MiB resident, healthy reader p50 ${p50} ms, p99 ${p99} ms`;
  process.stderr.write(
    `${CHANNELS * WARM} events of ${PADDING} bytes with no slow reader: ${shown(warm)}\n` +
      `${CHANNELS * EVENTS} past ${SLOW} that stand still: ${shown(past)}\n` +
      `${Math.round(before / MiB)} MiB before, so ${Math.round((past.peak - before) / MiB)} MiB more; ` +
      `${Math.round(held / MiB)} MiB more are held\n`,
  );
  expect(readers.every((reader) => reader.seen() < WARM + EVENTS)).toBe(true);
  expect(past.peak - before).toBeLessThan(GROWTH);
  expect(held).toBeLessThan(HELD);
  expect(past.p99).toBeLessThan(P99);

  const resumed = Date.now();
  for (const reader of readers) reader.resume();
  await until(() => readers.every(({ seen, fault }) => seen() >= WARM + EVENTS || fault() !== undefined), {
    deadlineMs: 60_000,
    what: 'all that they missed',
  });
  expect(readers.map(({ fault }) => fault()).filter((fault) => fault !== undefined)).toEqual([]);
  expect(readers.every(({ seen }) => seen() === WARM + EVENTS)).toBe(true);
  process.stderr.write(
    `they had it all after ${Date.now() - resumed} ms; ${Math.round((await gateway.memory()) / MiB)} MiB\n`,
  );
  healthy.close();
  await Promise.all(readers.map(({ leave }) => leave()));
}, 150_000);
