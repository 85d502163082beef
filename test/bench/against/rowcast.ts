import { type Gateway, startGateway } from '../harness/gateway.js';
import type { Peer, Server } from './peer.js';

/** A gateway as the load client and the meters see it. */
export function serverOf(gateway: Gateway): Server {
  return {
    attend: () => {},
    table: 'attached',
    load: { port: gateway.port, mode: 'rowcast', chan: 'attached:a' },
    pid: gateway.pid,
    cpu: gateway.cpu,
    feed: () => 0,
    memory: gateway.memory,
    stop: () => gateway.stop(),
  };
}

export const rowcast: Peer = {
  name: 'Rowcast',
  missing: () => null,
  start: async (database) => serverOf(await startGateway(database.url)),
};
