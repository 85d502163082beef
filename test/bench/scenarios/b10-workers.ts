import { serverOf } from '../against/rowcast.js';
import { startDatabase } from '../harness/database.js';
import { FAN_OUT_COLUMNS, fanOut } from '../harness/fan-out.js';
import { type Gateway, LIFTED, startGateway } from '../harness/gateway.js';
import type { Scenario } from '../harness/scenario.js';

const SOCKETS = 1_000;
const SHAPES = { '40 rows/s': { rows: 1, rate: 40 }, '500 rows/s, 10 a statement': { rows: 10, rate: 500 } } as const;
const SYSTEMS: Readonly<Record<string, string>> = { 'one worker': '1', 'two workers': '2' };

export const workers: Scenario = {
  name: 'B10',
  title: 'Two workers',
  about: `One channel, ${SOCKETS} WebSockets, at a fixed rate: the CPU of a gateway with two workers, its supervisor included, against one.`,
  seconds: 3,
  rounds: 3,
  shapes: Object.keys(SHAPES).map((name) => ({ name, systems: Object.keys(SYSTEMS) })),
  columns: FAN_OUT_COLUMNS,
  chart: 'perCpu',
  async open(run) {
    const database = await startDatabase();
    const writer = await database.connect();
    const gateways = new Map<string, Gateway>();
    for (const [system, ROWCAST_WORKERS] of Object.entries(SYSTEMS)) {
      gateways.set(system, await startGateway(database.url, { ...LIFTED, ROWCAST_WORKERS }));
    }
    return async ({ system, shape, seconds }) => {
      const gateway = gateways.get(system);
      if (!gateway) throw new Error(`${system} was not started`);
      const { rows, rate } = SHAPES[shape as keyof typeof SHAPES];
      const sockets = run.scale(SOCKETS);
      const options = { database, writer, server: serverOf(gateway), sockets, rowsPerStatement: rows, seconds };
      return fanOut({ ...options, pace: { rate } });
    };
  },
  musts: (results) =>
    Object.keys(SHAPES).map((shape) => ({
      figure: `${shape}, deliveries per CPU-second against one worker`,
      value: results.ratio(['two workers', shape], ['one worker', shape], 'perCpu'),
      floor: 0.85,
      aim: 0.95,
      better: 'more',
    })),
};
