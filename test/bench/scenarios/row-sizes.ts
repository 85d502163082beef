import { rowcast } from '../against/rowcast.js';
import { socketIo } from '../against/socket-io.js';
import { plainWs } from '../against/ws.js';
import { startDatabase } from '../harness/database.js';
import { fanOut } from '../harness/fan-out.js';
import type { Scenario } from '../harness/scenario.js';
import { serverIn, startServers } from '../harness/servers.js';

const SOCKETS = 500;
const ROWS_PER_SECOND = 20;
const SIZES: Readonly<Record<string, number>> = { '100 B': 100, '2 KB': 2_048, '30 KB': 30_720 };

export const rowSizes: Scenario = {
  name: 'sizes',
  title: 'Row sizes',
  about: `One channel, ${SOCKETS} WebSockets, ${ROWS_PER_SECOND} rows a second, whose text has 100 bytes, 2 KB or 30 KB, as the steps of agents have. What does not fit
into a NOTIFY is sent as an id, and the servers that listen read the row.`,
  seconds: 2,
  rounds: 3,
  shapes: Object.keys(SIZES).map((name) => ({ name, systems: [rowcast, plainWs, socketIo].map((peer) => peer.name) })),
  columns: [
    { figure: 'perCpu', title: 'thousand deliveries per CPU-second', digits: 1 },
    { figure: 'mb', title: 'MB/s delivered', digits: 1 },
    { figure: 'p50', title: 'p50 ms', digits: 1 },
    { figure: 'p99', title: 'p99 ms', digits: 1 },
    { figure: 'bytesPerRow', title: 'bytes a delivery', digits: 0 },
  ],
  chart: 'perCpu',
  async open(run) {
    const database = await startDatabase();
    const writer = await database.connect();
    const servers = await startServers(run, database, [rowcast, plainWs, socketIo]);
    return async ({ system, shape, seconds }) => {
      const { cores, figures } = await fanOut({
        database,
        writer,
        server: serverIn(servers, system),
        sockets: run.scale(SOCKETS),
        rowsPerStatement: 1,
        pace: { rate: ROWS_PER_SECOND },
        seconds,
        bytes: SIZES[shape] ?? 0,
      });
      const { perSecond = 0, bytesPerRow = 0 } = figures;
      return { cores, figures: { ...figures, mb: (perSecond * bytesPerRow) / 1000 } };
    };
  },
  musts: () => [],
};
