/** One channel, many sockets: a turn in which one connection writes, at a rate or as fast as the sockets take it. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Server } from '../against/peer.js';
import { BODY, type Database, insert } from './database.js';
import { type Load, startLoad } from './load.js';
import { meter } from './processes.js';
import type { Column, Measured } from './scenario.js';

interface FanOut {
  readonly database: Database;
  readonly writer: pg.Client;
  readonly server: Server;
  readonly sockets: number;
  readonly rowsPerStatement: number;
  /** Rows a second; or the rows that may be written and not yet be with all sockets. */
  readonly pace: { readonly rate: number } | { readonly window: number };
  readonly seconds: number;
  readonly bytes?: number;
}

/** How long rows are written before it is measured, in milliseconds. */
const WARM_UP = 1_000;
/** A client that sleeps in epoll makes every first send of a round pay for waking it, which a client elsewhere does not. */
const CLIENT_SLEEP = 1_000;
/** How long the last rows may take to arrive, in milliseconds. */
const LAST_ROWS = 10_000;
const LOOK = 20;

export const FAN_OUT_COLUMNS: readonly Column[] = [
  { figure: 'perCpu', title: 'thousand deliveries per CPU-second', digits: 1 },
  { figure: 'perSecond', title: 'thousand deliveries/s', digits: 1 },
  { figure: 'p50', title: 'p50 ms', digits: 1 },
  { figure: 'p99', title: 'p99 ms', digits: 1 },
  { figure: 'rowsPerFrame', title: 'rows a frame', digits: 1 },
  { figure: 'lost', title: 'lost', digits: 0 },
];

/** Writes until `end` is called; that resolves with the rows that were written. */
function write(
  { writer, server, rowsPerStatement, pace, sockets, bytes = BODY.length }: FanOut,
  load: Load,
  base: number,
) {
  const query = insert(server.table, bytes);
  const began = performance.now();
  let written = 0;
  let on = true;
  const statement = async () => {
    await writer.query({ ...query, values: ['a', written, rowsPerStatement] });
    written += rowsPerStatement;
  };
  const atRate = async (rate: number) => {
    while (on) {
      const due = ((performance.now() - began) / 1000) * rate;
      if (written + rowsPerStatement <= due) await statement();
      else await delay(1);
    }
  };
  const inWindow = async (window: number) => {
    while (on) {
      const delivered = ((await load.count()) - base) / sockets;
      // Several statements for each look at the clients, which takes a round trip.
      const until = delivered + window;
      if (written + rowsPerStatement > until) await delay(1);
      for (let k = 0; k < 4 && on && written + rowsPerStatement <= until; k++) await statement();
    }
  };
  const done = 'rate' in pace ? atRate(pace.rate) : inWindow(Math.max(pace.window, rowsPerStatement));
  return {
    async end() {
      on = false;
      await done;
      return written;
    },
  };
}

export async function fanOut(options: FanOut): Promise<Measured> {
  const { database, server, sockets, seconds } = options;
  const { attend } = server;
  attend(true);
  const sample = Math.max(1, Math.floor(sockets / 10));
  const load = await startLoad({ ...server.load, n: sockets, sample, idle: CLIENT_SLEEP });
  await delay(200); // event streams are open before they are subscribed
  const base = await load.count();
  const writing = write(options, load, base);
  await delay(Math.min(WARM_UP, seconds * 1000));
  load.reset();
  const read = meter({ server: server.cpu, feed: server.feed, postgres: database.cpu, client: load.cpu });
  const before = await load.snapshot();
  await delay(seconds * 1000);
  const after = await load.snapshot();
  const { cores, seconds: took } = read();
  const expected = (await writing.end()) * sockets;
  const until = performance.now() + LAST_ROWS;
  while ((await load.count()) - base < expected && performance.now() < until) await delay(LOOK);
  const last = await load.snapshot();
  await load.stop();
  attend(false);
  const delivered = after.rows - before.rows;
  const cpu = (cores.server ?? 0) * took;
  return {
    cores,
    figures: {
      perSecond: delivered / took / 1000,
      perCpu: delivered / cpu / 1000,
      perCpuWithFeed: delivered / (cpu + (cores.feed ?? 0) * took) / 1000,
      p50: after.p50,
      p99: after.p99,
      worst: after.worst,
      rowsPerFrame: delivered / Math.max(1, after.frames - before.frames),
      bytesPerRow: (after.bytes - before.bytes) / Math.max(1, delivered),
      lost: expected - (last.rows - base),
      gaps: last.gaps,
    },
  };
}
