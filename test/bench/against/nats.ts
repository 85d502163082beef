import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../../server/ground/free-port.js';
import { programPath, whyLacking } from '../../support/installed.mjs';
import { atEnd, startProgram } from '../harness/ends.js';
import { cpuOf } from '../harness/processes.js';
import { type Peer, reading, startServer } from './peer.js';

/** Its WebSocket listener, and a process that publishes what LISTEN brings. */
export const nats: Peer = {
  name: 'nats-server',
  missing: () => whyLacking('nats'),
  async start(database) {
    const [port, webSocketPort] = [await freePort(), await freePort()];
    const folder = mkdtempSync(join(tmpdir(), 'rowcast-bench-nats-'));
    atEnd(() => rmSync(folder, { recursive: true, force: true }));
    const config = join(folder, 'nats.conf');
    const webSocket = `websocket { port: ${webSocketPort}, host: "127.0.0.1", no_tls: true }`;
    writeFileSync(config, `listen: 127.0.0.1:${port}\n${webSocket}\nmax_pending: 512MB\n`);
    const args = ['-c', config];
    const server = await startProgram(programPath('nats') ?? '', { args, ready: /Server is ready/ });
    const feeder = await startServer('nats-feed', [database.url, port]);
    return {
      ...reading(server),
      attend: feeder.attend,
      table: 'notify',
      load: { port: webSocketPort, mode: 'nats', path: '/' },
      feed: () => cpuOf(feeder.pid),
      stop: async () => void (await Promise.all([feeder.stop(), server.stop()])),
    };
  },
};
