import { cpuOf } from '../harness/processes.js';
import { missingPackages, type Peer, packageFolder, reading, startServer } from './peer.js';

/** The reference server with its event streams, and a process that appends what LISTEN brings. */
export const durableStreams: Peer = {
  name: 'Durable Streams server',
  missing: () => missingPackages('@durable-streams/server'),
  async start(database) {
    const server = await startServer('durable-streams', [packageFolder('@durable-streams/server')]);
    const target = `http://127.0.0.1:${server.port}/rows`;
    const feeder = await startServer('http-feed', [database.url, target, 'application/json']);
    return {
      ...reading(server),
      attend: feeder.attend,
      table: 'notify',
      load: { port: server.port, mode: 'sse', path: '/rows?offset=now&live=sse' },
      feed: () => cpuOf(feeder.pid),
      stop: async () => void (await Promise.all([feeder.stop(), server.stop()])),
    };
  },
};
