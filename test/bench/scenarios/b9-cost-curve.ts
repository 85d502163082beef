import { setTimeout as delay } from 'node:timers/promises';
import { rowcast } from '../against/rowcast.js';
import { plainWs } from '../against/ws.js';
import { INSERT_KEYS, startDatabase } from '../harness/database.js';
import { fanOut } from '../harness/fan-out.js';
import { startLoad } from '../harness/load.js';
import { meter } from '../harness/processes.js';
import type { Must, Scenario } from '../harness/scenario.js';
import { serverIn, startServers } from '../harness/servers.js';

const TIMES = [1, 2, 4, 8];
const SOCKETS = 125;
const ROWS_PER_SECOND = 40;
const CHANNELS = 250;
/** Of each channel, so that the rows of all grow with the channels. */
const CHANNEL_RATE = 4;
const sockets = (times: number) => `${times}x: ${SOCKETS * times} sockets`;
const channels = (times: number) => `${times}x: ${CHANNELS * times} channels`;

export const costCurve: Scenario = {
  name: 'B9',
  title: 'Cost curve',
  about: `CPU of the gateway for each event delivered, from 1x to 8x. Sockets: one channel, ${ROWS_PER_SECOND} rows a second, ${SOCKETS} sockets and multiples.
Channels: ${CHANNELS} channels and multiples with one socket each, ${CHANNEL_RATE} rows a second into each, one statement for all every ${1000 / CHANNEL_RATE} ms.`,
  seconds: 2,
  rounds: 3,
  shapes: [
    ...TIMES.map((times) => ({
      name: sockets(times),
      systems: times === 1 || times === 8 ? [rowcast.name, plainWs.name] : [rowcast.name],
    })),
    ...TIMES.map((times) => ({ name: channels(times), systems: [rowcast.name] })),
  ],
  columns: [
    { figure: 'micros', title: 'CPU µs a delivery', digits: 1 },
    { figure: 'perSecond', title: 'thousand deliveries/s', digits: 1 },
    { figure: 'p99', title: 'p99 ms', digits: 1 },
  ],
  chart: 'micros',
  async open(run) {
    const database = await startDatabase();
    const writer = await database.connect();
    const servers = await startServers(run, database, [rowcast, plainWs]);

    const overChannels = async (system: string, n: number, seconds: number) => {
      const server = serverIn(servers, system);
      const load = await startLoad({ ...server.load, n, m: n, chan: 'attached:%d', sample: 10, idle: 1_000 });
      const keys = Array.from({ length: n }, (_, key) => `${key}`);
      let on = true;
      const writing = (async () => {
        for (let k = 0; on; k++) {
          const next = delay(1000 / CHANNEL_RATE);
          await writer.query({ ...INSERT_KEYS, values: [keys, k] });
          await next;
        }
      })();
      await delay(1_000);
      load.reset();
      const read = meter({ server: server.cpu, postgres: database.cpu, client: load.cpu });
      const before = await load.count();
      await delay(seconds * 1000);
      const [after, { p50, p99 }] = [await load.count(), await load.snapshot()];
      const { cores, seconds: took } = read();
      on = false;
      await writing;
      await load.stop();
      const delivered = after - before;
      const perCpu = delivered / ((cores.server ?? 0) * took) / 1000;
      return { cores, figures: { perSecond: delivered / took / 1000, perCpu, p50, p99 } };
    };

    return async ({ system, shape, seconds }) => {
      const times = Number.parseInt(shape, 10);
      const measured =
        shape === channels(times)
          ? await overChannels(system, run.scale(CHANNELS * times), seconds)
          : await fanOut({
              database,
              writer,
              server: serverIn(servers, system),
              sockets: run.scale(SOCKETS * times),
              rowsPerStatement: 1,
              pace: { rate: ROWS_PER_SECOND },
              seconds,
            });
      return { ...measured, figures: { ...measured.figures, micros: 1000 / (measured.figures.perCpu ?? 0) } };
    };
  },
  musts: (results) =>
    [sockets, channels].map(
      (shape): Must => ({
        figure: `CPU a delivery, ${shape(8)} against ${shape(1)}`,
        value: results.ratio(['Rowcast', shape(8)], ['Rowcast', shape(1)], 'micros'),
        // The spread of a quiet machine is within a tenth.
        floor: 1.1,
        aim: 1,
        better: 'less',
      }),
    ),
};
