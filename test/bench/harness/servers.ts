/** The servers of a scenario, each started once. */
import type { Peer, Server } from '../against/peer.js';
import type { Database } from './database.js';
import type { Run } from './scenario.js';

export async function startServers(
  run: Run,
  database: Database,
  peers: readonly Peer[],
): Promise<ReadonlyMap<string, Server>> {
  const servers = new Map<string, Server>();
  for (const { name, missing, start } of peers) {
    const why = missing();
    if (why === null) servers.set(name, await start(database));
    else run.leaveOut(name, why);
  }
  return servers;
}

/** The server of a system that was not left out. */
export function serverIn(servers: ReadonlyMap<string, Server>, system: string): Server {
  const server = servers.get(system);
  if (!server) throw new Error(`${system} was not started`);
  return server;
}
