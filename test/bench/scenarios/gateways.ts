import { setTimeout as delay } from 'node:timers/promises';
import { insert, startDatabase } from '../harness/database.js';
import { type Gateway, startGateway } from '../harness/gateway.js';
import { startLoad } from '../harness/load.js';
import { meter } from '../harness/processes.js';
import type { Scenario } from '../harness/scenario.js';

const COUNTS = [1, 4, 8];
const ROWS_PER_SECOND = 50;
const shape = (count: number) => `${count} ${count === 1 ? 'gateway' : 'gateways'}`;

export const gateways: Scenario = {
  name: 'gateways',
  title: 'Many gateways on one database',
  about: `${ROWS_PER_SECOND} single-row commits a second, every gateway with one subscriber: what each further gateway costs PostgreSQL, which
each of them reads the tail of.`,
  seconds: 3,
  rounds: 3,
  shapes: COUNTS.map((count) => ({ name: shape(count), systems: ['Rowcast'] })),
  columns: [
    { figure: 'postgresCpu', title: 'PostgreSQL CPU µs a row', digits: 0 },
    { figure: 'gatewayCpu', title: 'CPU µs a row, each gateway', digits: 0 },
    { figure: 'p50', title: 'p50 ms', digits: 1 },
    { figure: 'p99', title: 'p99 ms', digits: 1 },
  ],
  chart: 'postgresCpu',
  async open() {
    const database = await startDatabase();
    const writer = await database.connect();
    const running: Gateway[] = [];
    /** Fewer than before end the others: a gateway without subscribers reads the tail as well. */
    const bring = async (count: number) => {
      while (running.length < count) running.push(await startGateway(database.url));
      for (const gateway of running.splice(count)) await gateway.stop();
      await delay(500);
    };
    return async ({ shape: name, seconds }) => {
      await bring(Number.parseInt(name, 10));
      const chan = 'attached:a';
      const loads = await Promise.all(running.map(({ port }) => startLoad({ port, mode: 'rowcast', chan, sample: 1 })));
      const server = () => running.reduce((sum, gateway) => sum + gateway.cpu(), 0);
      const client = () => loads.reduce((sum, load) => sum + load.cpu(), 0);
      const read = meter({ server, postgres: database.cpu, client });
      const began = performance.now();
      const rows = Math.ceil(seconds * ROWS_PER_SECOND);
      for (let row = 0; row < rows; row++) {
        await writer.query({ ...insert('attached'), values: ['a', row, 1] });
        await delay(Math.max(0, began + ((row + 1) * 1000) / ROWS_PER_SECOND - performance.now()));
      }
      const { cores, seconds: took } = read();
      const snapshots = await Promise.all(loads.map((load) => load.snapshot()));
      await Promise.all(loads.map((load) => load.stop()));
      const perRow = (part: number | undefined) => (((part ?? 0) * took) / rows) * 1e6;
      const figures = {
        postgresCpu: perRow(cores.postgres),
        gatewayCpu: perRow(cores.server) / running.length,
        p50: Math.max(...snapshots.map(({ p50 }) => p50)),
        p99: Math.max(...snapshots.map(({ p99 }) => p99)),
      };
      return { figures, cores };
    };
  },
  musts: () => [],
};
