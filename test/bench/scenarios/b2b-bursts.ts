import { nats } from '../against/nats.js';
import { rowcast } from '../against/rowcast.js';
import { socketIo } from '../against/socket-io.js';
import { plainWs } from '../against/ws.js';
import { startDatabase } from '../harness/database.js';
import { FAN_OUT_COLUMNS, fanOut } from '../harness/fan-out.js';
import type { Must, Scenario } from '../harness/scenario.js';
import { serverIn, startServers } from '../harness/servers.js';

const SOCKETS = 1_000;
/** Rows that may be written and not yet be with all sockets; more than a second of work for those that do not batch. */
const WINDOW = 500;
const SMALL_WINDOW = 100;
const BATCHING = new Set([rowcast.name, nats.name]);

const full = (rows: number) => `${rows} rows a statement`;
const half = (rows: number) => `${rows} rows a statement, half load`;
const SIZES = [1, 10, 100];
/** In the last measurement before the present one, as a multiple of nats-server: it is to stay there. */
const BEFORE = { 1: 2.9, 10: 3.8, 100: 3.3 } as Readonly<Record<number, number>>;

export const bursts: Scenario = {
  name: 'B2b',
  title: 'Fan-out, in bursts',
  about: `One channel, ${SOCKETS} WebSockets, as many rows as they take: at most ${WINDOW} (those that do not batch: ${SMALL_WINDOW}) are written and not yet
delivered to all. Half load: Rowcast at half of the rate that it reached in the same round.`,
  seconds: 2,
  rounds: 3,
  shapes: SIZES.flatMap((rows) => [
    {
      name: full(rows),
      systems: rows === 10 ? [rowcast, nats, plainWs, socketIo].map(({ name }) => name) : [...BATCHING],
    },
    { name: half(rows), systems: [rowcast.name] },
  ]),
  columns: FAN_OUT_COLUMNS,
  chart: 'perSecond',
  async open(run) {
    const database = await startDatabase();
    const writer = await database.connect();
    await writer.query('SET synchronous_commit = off'); // the disk is not what is measured
    const servers = await startServers(run, database, [rowcast, nats, plainWs, socketIo]);
    const sockets = run.scale(SOCKETS);
    /** Deliveries a second at full load, by rows a statement, in thousands. */
    const reached = new Map<number, number>();
    return async ({ system, shape, seconds }) => {
      const rows = Number.parseInt(shape, 10);
      const server = serverIn(servers, system);
      const rate = ((reached.get(rows) ?? 0) * 1000) / sockets / 2;
      const pace = shape === half(rows) ? { rate } : { window: BATCHING.has(system) ? WINDOW : SMALL_WINDOW };
      const measured = await fanOut({ database, writer, server, sockets, rowsPerStatement: rows, pace, seconds });
      if (system === rowcast.name && shape === full(rows)) reached.set(rows, measured.figures.perSecond ?? 0);
      return measured;
    };
  },
  musts: (results) =>
    SIZES.flatMap((rows): Must[] => {
      const before = BEFORE[rows] ?? 0;
      const ratio = results.ratio(['Rowcast', full(rows)], ['nats-server', full(rows)], 'perSecond');
      const p99 = results.median('Rowcast', half(rows), 'p99');
      return [
        {
          figure: `${full(rows)}, deliveries/s against nats-server`,
          value: ratio,
          floor: before,
          aim: before,
          better: 'more',
        },
        { figure: `${half(rows)}, p99 ms`, value: p99, floor: 50, aim: 50, better: 'less' },
      ];
    }),
};
