import { peers } from '../against/all.js';
import { startDatabase } from '../harness/database.js';
import { FAN_OUT_COLUMNS, fanOut } from '../harness/fan-out.js';
import type { Scenario } from '../harness/scenario.js';
import { serverIn, startServers } from '../harness/servers.js';

const SOCKETS = 1_000;
const ROWS_PER_SECOND = 40;
const SHAPE = '40 rows/s';

export const oneByOne: Scenario = {
  name: 'B2a',
  title: 'Fan-out, one row at a time',
  about: `One channel, ${SOCKETS} WebSockets, ${ROWS_PER_SECOND} rows a second, each in a statement of its own: nothing can be batched.
The CPU time is that of the server that has the sockets; that of Rowcast reads the database as well.`,
  seconds: 2.5,
  rounds: 3,
  shapes: [{ name: SHAPE, systems: peers.map(({ name }) => name) }],
  columns: FAN_OUT_COLUMNS,
  chart: 'perCpu',
  async open(run) {
    const database = await startDatabase();
    const writer = await database.connect();
    const servers = await startServers(run, database, peers);
    return ({ system, seconds }) =>
      fanOut({
        database,
        writer,
        server: serverIn(servers, system),
        sockets: run.scale(SOCKETS),
        rowsPerStatement: 1,
        pace: { rate: ROWS_PER_SECOND },
        seconds,
      });
  },
  musts: (results) => {
    const against = (peer: string) => results.ratio(['Rowcast', SHAPE], [peer, SHAPE], 'perCpu');
    return [
      {
        figure: 'deliveries per CPU-second, against plain ws',
        value: against('plain ws'),
        floor: 0.95,
        aim: 1.1,
        better: 'more',
      },
      {
        figure: 'deliveries per CPU-second, against Socket.IO',
        value: against('Socket.IO'),
        floor: 1,
        aim: 1.1,
        better: 'more',
      },
    ];
  },
};
