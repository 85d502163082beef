import { cpuOf } from '../harness/processes.js';
import { missingPackages, type Peer, packageFolder, reading, startServer } from './peer.js';

const load = (port: number) => ({ port, mode: 'sio', path: '/socket.io/?EIO=4&transport=websocket' }) as const;

export const socketIo: Peer = {
  name: 'Socket.IO',
  missing: () => missingPackages('socket.io'),
  async start(database) {
    const program = await startServer('socket-io', [database.url, 'feed', packageFolder('socket.io')]);
    return { ...reading(program), attend: program.attend, table: 'notify', load: load(program.port), feed: () => 0 };
  },
};

/** Two servers: the rows come to one, the sockets are with the other, and the adapter brings them over by NOTIFY. */
export const socketIoPostgres: Peer = {
  name: 'Socket.IO, Postgres adapter',
  missing: () => missingPackages('socket.io', '@socket.io/postgres-adapter'),
  async start(database) {
    const folders = [packageFolder('socket.io'), packageFolder('@socket.io/postgres-adapter')];
    const follower = await startServer('socket-io', [database.url, 'follow', ...folders]);
    const feeder = await startServer('socket-io', [database.url, 'feed', ...folders]);
    return {
      ...reading(follower),
      attend: feeder.attend,
      table: 'notify',
      load: load(follower.port),
      feed: () => cpuOf(feeder.pid),
      stop: async () => void (await Promise.all([feeder.stop(), follower.stop()])),
    };
  },
};
