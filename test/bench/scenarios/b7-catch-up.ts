import { setTimeout as delay } from 'node:timers/promises';
import { createClient } from '../../../client/node.js';
import { type Database, insert, startDatabase } from '../harness/database.js';
import { type Gateway, startGateway } from '../harness/gateway.js';
import { startLoad } from '../harness/load.js';
import { meter } from '../harness/processes.js';
import type { Scenario } from '../harness/scenario.js';

const ROWS = 1_000_000;
const SHAPE = 'from start';
const LOADED_AT_ONCE = 20_000;

/** Each reads the whole history, and returns the cores that a separate client took. */
const READERS = {
  async 'raw WebSocket'({ port }: Gateway, rows: number) {
    const load = await startLoad({ port, mode: 'rowcast', chan: 'attached:a', since: 'start', sample: 0 });
    while ((await load.count()) < rows) await delay(5);
    await load.stop();
  },
  async 'client library'({ url }: Gateway, rows: number) {
    const client = createClient({ url });
    let seen = 0;
    await new Promise<void>((resolve) => {
      client.subscribe('attached:a', { since: 'start', onEvent: () => ++seen === rows && resolve() });
    });
    client.close();
  },
} as const;

async function fill(database: Database, rows: number): Promise<void> {
  const writer = await database.connect();
  await writer.query('SET synchronous_commit = off');
  for (let done = 0; done < rows; done += LOADED_AT_ONCE) {
    await writer.query({ ...insert('attached'), values: ['a', done, Math.min(LOADED_AT_ONCE, rows - done)] });
  }
  await writer.query('VACUUM ANALYZE attached');
  await writer.query('CHECKPOINT');
}

export const catchUp: Scenario = {
  name: 'B7',
  title: 'Catch-up, one million rows',
  about: `One channel with a million rows; one client reads it from the start. The raw client counts rows, the library calls back with each.`,
  seconds: 0,
  rounds: 3,
  shapes: [{ name: SHAPE, systems: Object.keys(READERS) }],
  columns: [
    { figure: 'rows', title: 'rows/s', digits: 0 },
    { figure: 'gatewayCpu', title: 'gateway CPU µs a row', digits: 2 },
    { figure: 'postgresCpu', title: 'PostgreSQL CPU µs a row', digits: 2 },
    { figure: 'before', title: 'MB before', digits: 0 },
    { figure: 'peak', title: 'MB at most', digits: 0 },
  ],
  chart: 'rows',
  async open(run) {
    const database = await startDatabase();
    const rows = run.scale(ROWS);
    await fill(database, rows);
    const gateway = await startGateway(database.url);
    await delay(1_000);
    return async ({ system }) => {
      const before = gateway.memory().now;
      let peak = before;
      const watch = setInterval(() => {
        peak = Math.max(peak, gateway.memory().now);
      }, 50);
      const read = meter({ server: gateway.cpu, postgres: database.cpu });
      await READERS[system as keyof typeof READERS](gateway, rows);
      const { cores, seconds } = read();
      clearInterval(watch);
      const perRow = (part: number | undefined) => (((part ?? 0) * seconds) / rows) * 1e6;
      const figures = {
        rows: rows / seconds,
        gatewayCpu: perRow(cores.server),
        postgresCpu: perRow(cores.postgres),
        before: before / 1024,
        peak: peak / 1024,
      };
      return { figures, cores };
    };
  },
  musts: (results) => {
    const peaks = results.of('raw WebSocket', SHAPE, 'peak');
    const growth = (peaks.at(-1) ?? Number.NaN) / (peaks[1] ?? Number.NaN);
    return [
      {
        figure: 'rows/s, raw client',
        value: results.median('raw WebSocket', SHAPE, 'rows'),
        floor: 150_000,
        aim: 200_000,
        better: 'more',
      },
      { figure: 'memory of the last round against the second', value: growth, floor: 1.1, aim: 1.05, better: 'less' },
    ];
  },
};
