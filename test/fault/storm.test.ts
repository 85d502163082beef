import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { freePort } from '../../server/ground/free-port.js';
import { type Crowd, type CrowdReport, startCrowd } from '../support/crowd.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES } from '../support/gateway.js';
import { killAll, startGatewayProcess } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const CLIENTS = Number(process.env.ROWCAST_STORM_CLIENTS || 3_000);
const CHANNELS = Array.from({ length: 50 }, (_, index) => `message:storm${index}`);
const PAGE_ROWS = 20;
/** Rows in each channel before the storm. */
const BEFORE = 10;
/** And while the gateway is away: more than one page. */
const WHILE_AWAY = 50;
/** For one address, and all these clients have the same. Lower than the default, which a busy machine may not reach. */
const RATE = 250;
const BURST = 2 * RATE;
/**
 * From the moment at which all are connected until the last has climbed to the best way, in milliseconds: its first delay,
 * then a turn among all of them, then a handshake.
 */
const CLIMB = 2_500 + (CLIENTS / RATE) * 1_000 + 10_000;
const MiB = 1024 ** 2;

let database: TestDatabase;
let writer: pg.Client;
let crowd: Crowd | null = null;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
});
afterEach(async () => {
  await crowd?.end();
  crowd = null;
});
afterAll(async () => {
  killAll();
  await writer.end();
  await database.drop();
});

/** Adds so many rows to each channel; the data of a row is its seq. */
async function write(rows: number, heads: Map<string, number>): Promise<void> {
  for (const channel of CHANNELS) {
    const head = heads.get(channel) ?? 0;
    await writer.query(
      `INSERT INTO rowcast.messages (key, event_type, data)
       SELECT split_part($1, ':', 2), 'log', to_jsonb($2::int + i) FROM generate_series(1, $3::int) i`,
      [channel, head, rows],
    );
    heads.set(channel, head + rows);
  }
}

/** Between two writes, in milliseconds: the load, not a wait. */
const PACE = 500;

/** Writes to one channel after the other until told to stop. */
function writeSteadily(heads: Map<string, number>): () => Promise<void> {
  let stopped = false;
  const running = (async () => {
    while (!stopped) {
      await write(1, heads);
      await new Promise((resolve) => setTimeout(resolve, PACE));
    }
  })();
  return async () => {
    stopped = true;
    await running;
  };
}

/** Each client needs one file here, and one in the gateway. */
async function clientsThatFit(): Promise<number> {
  const limits = await readFile('/proc/self/limits', 'utf8');
  return Math.min(CLIENTS, Number(/Max open files +\d+ +(\d+)/.exec(limits)?.[1] ?? CLIENTS) - 500);
}

async function counter(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^rowcast_${name} (\\d+)$`, 'm').exec(text)?.[1]);
}

test('I1 I2 I3: thousands of clients come back after kill -9, at the rate that is admitted; each page is read once', async () => {
  const clients = await clientsThatFit();
  const port = `${await freePort()}`;
  const settings = { ROWCAST_PORT: port, ROWCAST_ADDRESS_CONNECT_RATE: `${RATE}` };
  const values = { pageRows: PAGE_ROWS };
  const heads = new Map<string, number>();
  await write(BEFORE, heads);
  const first = await startGatewayProcess(database.url, { ...settings, ...NO_RATES }, values);
  const present = startCrowd({ url: first.url, clients, channels: CHANNELS });
  crowd = present;
  /** The report in which every client is connected by the best way and has every row; null before that. */
  const caughtUp = async (): Promise<CrowdReport | null> => {
    const report = await present.report();
    const there = report.lowest.every((seq, index) => seq === heads.get(CHANNELS[index] ?? ''));
    // One that had failed too often when the gateway came back is on a lower rung, until its turn to climb comes.
    return there && report.transports.websocket === clients ? report : null;
  };
  await until(caughtUp, { deadlineMs: 60_000, what: 'all to be there' });
  const before = await first.memory();

  await first.kill('SIGKILL');
  await present.forget();
  await write(WHILE_AWAY, heads);
  const restarted = Date.now();
  const second = await startGatewayProcess(database.url, settings, values);
  const finish = writeSteadily(heads);
  const connected = async () => {
    const report = await present.report();
    return report.connected === clients ? report : null;
  };
  const { transports } = await until(connected, { deadlineMs: 90_000, what: 'all to be connected again' });
  await finish();
  const report = await until(caughtUp, { deadlineMs: CLIMB, what: 'all to catch up' });

  const back = report.connections.map((at) => at - restarted).sort((a, b) => a - b);
  const last = back.at(-1) ?? 0;
  const [pages, statements, opens] = await Promise.all(
    ['pages_total', 'page_statements_total', 'open_statements_total'].map((name) => counter(second.url, name)),
  );
  const grown = (await second.memory()) - before;
  console.log(
    [
      `${clients} clients on ${CHANNELS.length} channels were back ${(last / 1000).toFixed(1)} s after the restart`,
      `half of them after ${((back[Math.floor(back.length / 2)] ?? 0) / 1000).toFixed(1)} s`,
      `by ${JSON.stringify(transports)}, and in the end by WebSocket`,
      `had to wait: ${JSON.stringify(report.turnedAway)}`,
      `reads of the table: ${pages} pages in ${statements} statements; ${opens} statements opened the channels`,
      `memory of the gateway: ${Math.round(before / MiB)} MiB before, ${Math.round(grown / MiB)} MiB more after`,
    ].join('\n'),
  );
  expect(report.faults).toEqual([]);
  // A gateway that was away for a moment, and is slow to answer, is no reason to leave the best way.
  expect(transports.websocket).toBeGreaterThan(0.95 * clients);
  expect(report.turnedAway).toHaveProperty('rate_limited');
  expect(last).toBeLessThan(60_000);
  // Never more at once than the burst and what the rate gives, from the first moment on.
  expect(back.filter((at, index) => index + 1 > BURST + (at / 1000) * RATE)).toEqual([]);
  // However many ask: what was written while the gateway was away, once for each channel, and a page of it may begin twice.
  const toRead = CHANNELS.length * (Math.ceil((BEFORE + WHILE_AWAY) / PAGE_ROWS) + 1);
  expect(pages).toBeGreaterThan(0);
  expect(pages).toBeLessThanOrEqual(toRead);
  expect(opens).toBeLessThanOrEqual(2 * CHANNELS.length);
  expect(grown).toBeLessThan(before);
  await second.kill('SIGKILL'); // a stop would wait for the goodbyes of thousands
}, 180_000);
