import { setTimeout as delay } from 'node:timers/promises';
import { insert, startDatabase } from '../harness/database.js';
import { startGateway } from '../harness/gateway.js';
import { startLoad } from '../harness/load.js';
import { meter } from '../harness/processes.js';
import type { Scenario } from '../harness/scenario.js';

const WRITERS = 4;
const ROWS = 1_000;
const SHAPE = '1,000 rows a statement';
/** How long the last rows may take to arrive, in milliseconds. */
const LAST_ROWS = 30_000;

const SYSTEMS = {
  'with its indexes': { table: 'indexed', channels: 0 },
  'attached, no subscriber': { table: 'attached', channels: 0 },
  Rowcast: { table: 'attached', channels: WRITERS },
  'Rowcast, one channel': { table: 'attached', channels: 1 },
} as const;

export const bulk: Scenario = {
  name: 'B5',
  title: 'Writers, bulk',
  about: `${WRITERS} connections write ${ROWS} rows a statement, each into a channel of its own, or all into one; one WebSocket reads all of them. To the
client: from the first statement to the last row being read. The other tables are as in B4.`,
  seconds: 5,
  rounds: 3,
  shapes: [{ name: SHAPE, systems: Object.keys(SYSTEMS) }],
  columns: [
    { figure: 'toClient', title: 'rows/s to the client', digits: 0 },
    { figure: 'written', title: 'rows/s written', digits: 0 },
    { figure: 'postgresCpu', title: 'PostgreSQL CPU µs a row', digits: 1 },
    { figure: 'gatewayCpu', title: 'gateway CPU µs a row', digits: 1 },
    { figure: 'memory', title: 'gateway MB', digits: 0 },
    { figure: 'lost', title: 'lost', digits: 0 },
  ],
  chart: 'written',
  async open() {
    const database = await startDatabase();
    const admin = await database.connect();
    const clients = await Promise.all(Array.from({ length: WRITERS }, () => database.connect()));
    const gateway = await startGateway(database.url);
    let turns = 0;
    return async ({ system, seconds }) => {
      const { table, channels } = SYSTEMS[system as keyof typeof SYSTEMS];
      const prefix = `turn-${turns++}-`;
      const load =
        channels === 0
          ? undefined
          : await startLoad({
              port: gateway.port,
              mode: 'rowcast',
              k: channels,
              m: channels,
              chan: `attached:${prefix}%d`,
            });
      const read = meter({ postgres: database.cpu, server: gateway.cpu, client: load?.cpu ?? (() => 0) });
      const began = performance.now();
      let written = 0;
      await Promise.all(
        clients.map(async (client, index) => {
          const key = `${prefix}${channels === 1 ? 0 : index}`;
          while (performance.now() - began < seconds * 1000) {
            await client.query({ ...insert(table), values: [key, written, ROWS] });
            written += ROWS;
          }
        }),
      );
      const writing = (performance.now() - began) / 1000;
      const until = performance.now() + LAST_ROWS;
      while (load && (await load.count()) < written && performance.now() < until) await delay(5);
      const { cores, seconds: took } = read();
      const seen = (await load?.count()) ?? Number.NaN;
      await load?.stop();
      await admin.query(`TRUNCATE ${table}`);
      await admin.query('CHECKPOINT');
      const perRow = (part: number | undefined) => (((part ?? 0) * took) / written) * 1e6;
      const figures = {
        toClient: seen / took,
        written: written / writing,
        postgresCpu: perRow(cores.postgres),
        gatewayCpu: perRow(cores.server),
        memory: gateway.memory().now / 1024,
        lost: load ? written - seen : 0,
      };
      return { figures, cores };
    };
  },
  musts: (results) => [
    {
      figure: 'rows/s to the client',
      value: results.median('Rowcast', SHAPE, 'toClient'),
      floor: 50_000,
      aim: 70_000,
      better: 'more',
    },
  ],
};
