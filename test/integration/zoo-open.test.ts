/** Transactions that are open when a stream is left out, and when it comes back: by several gateways, in any order of the steps. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Client } from '../../client/node.js';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { makeRandom } from '../support/random.js';
import { makeTroubled, statement, streamTroubles } from '../support/troubles.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const SEED = Number(process.env.ROWCAST_SEED);
const ROUNDS = 4;
/** Each writer has a channel of its own: those of one channel would wait for each other. */
const WRITERS = 3;

let database: TestDatabase;
let gateways: Gateway[];
let clients: Client[];
let breaker: pg.Client;
let writers: pg.Client[];
beforeAll(async () => {
  process.stderr.write(`zoo-open: ROWCAST_SEED=${SEED}\n`);
  database = await createDatabase();
  const start = () => startTestGateway(database.url, { ...NO_RATES, ROWCAST_LOG_LEVEL: 'silent' });
  gateways = [await start(), await start()];
  clients = gateways.map(({ url }) => testClient({ url }));
  breaker = await connectWriter(database.url);
  writers = await Promise.all(Array.from({ length: WRITERS }, () => connectWriter(database.url)));
});
afterAll(async () => {
  for (const client of clients) client.close();
  await Promise.all(gateways.map((gateway) => gateway.stop()));
  await Promise.all([breaker, ...writers].map((client) => client.end()));
  await database.drop();
});

/** Those that need no lock of the table, which the open transactions hold. */
const troubles = streamTroubles.filter(({ breaks }) => breaks.startsWith('REVOKE'));

const isOut = async ({ url }: Gateway, table: string): Promise<boolean> => {
  const { streams } = (await (await fetch(`${url}/readyz`)).json()) as { streams: Record<string, unknown> };
  return table in streams;
};

test('I1 I2: what was open when the stream was left out, or began meanwhile, arrives once and in order', async () => {
  const r = makeRandom(SEED).branch('zoo-open');
  for (let round = 0; round < ROUNDS; round += 1) {
    const table = `open_${round}`;
    await makeTroubled(breaker, table);
    const { breaks, heals } = r.pick(troubles);
    const counts = writers.map(() => 0);
    const readers = clients.flatMap((client) => writers.map((_, key) => follow(client, `${table}:k${key}`)));
    await Promise.all(readers.map((reader) => reader.live()));
    const open = writers.map(() => false);
    /** One step of each writer from `first` on: it begins, goes on, or ends. */
    const step = async (first = 0) => {
      for (const [key, writer] of writers.entries()) {
        if (key < first) continue;
        const end = open[key] && r.chance(0.4);
        if (!open[key]) await writer.query('BEGIN');
        await writer.query(`INSERT INTO ${table} (id, v) VALUES ($1, 0)`, [`k${key}`]);
        counts[key] = (counts[key] ?? 0) + 1;
        if (end) await writer.query('COMMIT');
        open[key] = !end;
      }
    };
    for (let steps = r.int(1, 3); steps > 0; steps -= 1) await step();
    await breaker.query(statement(breaks, table));
    for (let steps = r.int(1, 3); steps > 0; steps -= 1) await step();
    await breaker.query(`INSERT INTO ${table} (id, v) VALUES ('other', 0)`); // rings
    await until(async () => (await Promise.all(gateways.map((one) => isOut(one, table)))).every(Boolean), {
      what: 'both gateways to leave the stream out',
    });
    for (let steps = r.int(1, 3); steps > 0; steps -= 1) await step();
    // The first one ends while the stream is out, and nothing of its channel comes later.
    if (open[0]) await writers[0]?.query('COMMIT');
    open[0] = false;
    await breaker.query(statement(heals, table));
    if (r.chance(0.5)) {
      await until(async () => !(await Promise.all(gateways.map((one) => isOut(one, table)))).some(Boolean), {
        deadlineMs: 25_000,
        what: 'the stream to be back',
      });
    }
    for (let steps = r.int(0, 2); steps > 0; steps -= 1) await step(1);
    for (const [key, writer] of writers.entries()) if (open[key]) await writer.query('COMMIT');
    for (const [index, reader] of readers.entries()) {
      const count = counts[index % WRITERS] ?? 0;
      await reader.count(count, 25_000);
      expect(reader.events.map(({ seq }) => seq)).toEqual(seqs(1, count));
      expect(reader.resets).toEqual([]);
      reader.subscription.close();
    }
  }
}, 180_000);
