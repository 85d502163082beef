import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { INSERT_KEYS, startDatabase } from '../harness/database.js';
import { quantile } from '../harness/figures.js';
import { startGateway } from '../harness/gateway.js';
import { startLoad } from '../harness/load.js';
import { meter } from '../harness/processes.js';
import type { Scenario } from '../harness/scenario.js';

const CHANNELS = 2_000;
const RATE = 5_000;
const WRITERS = 8;
const WARM_UP = 1_000;
/** A row that is read later than that is late, in milliseconds. */
const LATE = 100;
const SIZES = [1, 10, 50];
const shape = (rows: number) => `${rows} rows a statement`;

/** Writes at a rate into channels of its own, so that no writer waits for another. Resolves when `on` says so. */
async function write(client: pg.Client, keys: readonly string[], rows: number, rate: number, on: () => boolean) {
  const took: number[] = [];
  const began = performance.now();
  let written = 0;
  while (on()) {
    const due = ((performance.now() - began) / 1000) * rate;
    if (written + rows > due) {
      await delay(1);
      continue;
    }
    const some = Array.from({ length: rows }, (_, k) => keys[(written + k) % keys.length] ?? '').sort();
    const at = performance.now();
    await client.query({ ...INSERT_KEYS, values: [some, written] });
    took.push(performance.now() - at);
    written += rows;
  }
  return { written, took };
}

export const channels: Scenario = {
  name: 'B3',
  title: 'Many channels',
  about: `${CHANNELS} channels with one WebSocket each, ${RATE} rows a second by ${WRITERS} connections. How late a row is: from its being made inside the
INSERT to its being read by the client, the commit included. A round holds if no row was more than ${LATE} ms late.`,
  seconds: 4,
  rounds: 4,
  shapes: SIZES.map((rows) => ({ name: shape(rows), systems: ['Rowcast'] })),
  columns: [
    { figure: 'worst', title: 'latest row ms', digits: 0 },
    { figure: 'p99', title: 'p99 ms', digits: 1 },
    { figure: 'p50', title: 'p50 ms', digits: 1 },
    { figure: 'rate', title: 'rows/s', digits: 0 },
    { figure: 'statement99', title: 'p99 of the INSERT ms', digits: 1 },
    { figure: 'lost', title: 'lost', digits: 0 },
  ],
  chart: 'worst',
  async open(run) {
    const database = await startDatabase();
    const clients = await Promise.all(Array.from({ length: WRITERS }, () => database.connect()));
    const n = run.scale(CHANNELS);
    const keys = Array.from({ length: n }, (_, key) => `${key}`);
    await clients[0]?.query({ ...INSERT_KEYS, values: [keys, 0] });
    await clients[0]?.query('VACUUM ANALYZE attached');
    const gateway = await startGateway(database.url);
    const load = await startLoad({
      port: gateway.port,
      mode: 'rowcast',
      n,
      m: n,
      chan: 'attached:%d',
      sample: 1,
      inflight: 200,
    });
    return async ({ shape: name, seconds }) => {
      const rows = Number.parseInt(name, 10);
      const base = (await load.snapshot()).rows;
      let on = true;
      const rate = run.scale(RATE) / WRITERS;
      const own = (writer: number) => keys.filter((_, key) => key % WRITERS === writer);
      const writing = clients.map((client, writer) => write(client, own(writer), rows, rate, () => on));
      await delay(WARM_UP);
      load.reset();
      const read = meter({ server: gateway.cpu, postgres: database.cpu, client: load.cpu });
      const before = await load.snapshot();
      await delay(seconds * 1000);
      const after = await load.snapshot();
      const { cores, seconds: took } = read();
      on = false;
      const done = await Promise.all(writing);
      const written = done.reduce((sum, each) => sum + each.written, 0);
      const until = performance.now() + 5_000;
      while ((await load.count()) - base < written && performance.now() < until) await delay(20);
      const figures = {
        worst: after.rows > before.rows ? after.worst : Number.NaN, // a round without rows does not hold
        p99: after.p99,
        p50: after.p50,
        rate: (after.rows - before.rows) / took,
        statement99: quantile(
          done.flatMap((each) => each.took),
          0.99,
        ),
        lost: written - ((await load.count()) - base),
      };
      return { figures, cores };
    };
  },
  musts(results) {
    const all = SIZES.flatMap((rows) => results.of('Rowcast', shape(rows), 'worst'));
    const part = all.filter((worst) => worst <= LATE).length / all.length;
    return [
      { figure: `part of the rounds without a row over ${LATE} ms`, value: part, floor: 0.9, aim: 1, better: 'more' },
    ];
  },
};
