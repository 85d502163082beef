import { setTimeout as delay } from 'node:timers/promises';
import type { Server } from '../against/peer.js';
import { serverOf } from '../against/rowcast.js';
import { socketIo } from '../against/socket-io.js';
import { plainWs } from '../against/ws.js';
import { type Database, startDatabase } from '../harness/database.js';
import { startGateway } from '../harness/gateway.js';
import { startLoad } from '../harness/load.js';
import { meter } from '../harness/processes.js';
import type { Scenario } from '../harness/scenario.js';

const CONNECTIONS = 5_000;
const SHAPE = 'idle';
/** Until what opening has left behind is collected, in milliseconds. */
const SETTLE = 4_000;
const START = 2_000;

async function gatewayWith(database: Database, load: Pick<Server['load'], 'mode' | 'path'>): Promise<Server> {
  const server = serverOf(await startGateway(database.url));
  return { ...server, load: { ...server.load, chan: 'attached:%d', ...load } };
}

/** Each starts a fresh server: memory is that over the empty process. */
const SYSTEMS: Readonly<Record<string, (database: Database) => Promise<Server>>> = {
  'Rowcast, WebSocket': (database) => gatewayWith(database, { mode: 'rowcast' }),
  'Rowcast, event stream': (database) =>
    gatewayWith(database, { mode: 'sse', path: '/v1/sse?channel=attached:%d&since=now' }),
  'plain ws': plainWs.start,
  'Socket.IO': socketIo.start,
};

export const idle: Scenario = {
  name: 'B6',
  title: 'Idle connections',
  about: `${CONNECTIONS} connections, with Rowcast each subscribed to a channel of its own, in a fresh server: resident memory over that of the empty
process, ${SETTLE / 1000} s after the last one has opened, and the CPU that they take while nothing happens, heartbeats included.`,
  seconds: 2,
  rounds: 3,
  shapes: [{ name: SHAPE, systems: Object.keys(SYSTEMS) }],
  columns: [
    { figure: 'kb', title: 'KB a connection', digits: 1 },
    { figure: 'empty', title: 'MB empty', digits: 0 },
    { figure: 'peak', title: 'MB at the peak', digits: 0 },
    { figure: 'openCpu', title: 'CPU ms to open one', digits: 2 },
    { figure: 'idleCpu', title: 'cores, idle', digits: 3 },
  ],
  chart: 'kb',
  async open(run) {
    const database = await startDatabase();
    const why = socketIo.missing();
    if (why !== null) run.leaveOut(socketIo.name, why);
    const n = run.scale(CONNECTIONS);
    const settle = (ms: number) => delay(run.quick ? ms / 10 : ms);
    return async ({ system, seconds }) => {
      const server = await SYSTEMS[system]?.(database);
      if (!server) throw new Error(`${system} is unknown`);
      await settle(START);
      const [empty, cpu] = [server.memory().now, server.cpu()];
      const load = await startLoad({ ...server.load, n, m: n, inflight: 64 });
      const openCpu = ((server.cpu() - cpu) / n) * 1000;
      await settle(SETTLE);
      const { now, peak } = server.memory();
      const read = meter({ server: server.cpu, postgres: database.cpu, client: load.cpu });
      await delay(seconds * 1000);
      const { cores } = read();
      await load.stop();
      await server.stop();
      const figures = {
        kb: (now - empty) / n,
        empty: empty / 1024,
        peak: peak / 1024,
        openCpu,
        idleCpu: cores.server ?? Number.NaN,
      };
      return { figures, cores };
    };
  },
  musts: (results) => {
    const kb = (system: string) => results.median(system, SHAPE, 'kb');
    return [
      { figure: 'KB a WebSocket', value: kb('Rowcast, WebSocket'), floor: 12, aim: 10, better: 'less' },
      { figure: 'KB an event stream', value: kb('Rowcast, event stream'), floor: 18, aim: 12, better: 'less' },
    ];
  },
};
