import { type Peer, reading, startServer } from './peer.js';

/** The `ws` that Rowcast itself depends on. */
export const plainWs: Peer = {
  name: 'plain ws',
  missing: () => null,
  async start(database) {
    const program = await startServer('ws', [database.url]);
    const load = { port: program.port, mode: 'ws', path: '/' } as const;
    return { ...reading(program), attend: program.attend, table: 'notify', load, feed: () => 0 };
  },
};
