import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../../server/ground/free-port.js';
import { programPath } from '../../support/installed.mjs';
import { atEnd, startProgram } from '../harness/ends.js';
import { cpuOf, cpuOfTree } from '../harness/processes.js';
import { type Peer, reading, startServer } from './peer.js';

const MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so';

const configuration = (port: number, folder: string) => `
load_module ${MODULE};
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 1; daemon off; error_log stderr notice; pid ${folder}/pid; worker_rlimit_nofile 40000;
events { worker_connections 20000; }
http {
  access_log off; client_body_temp_path ${folder}/body; client_body_buffer_size 64k; client_max_body_size 1m;
  keepalive_requests 100000000; nchan_shared_memory_size 256M;
  server {
    listen 127.0.0.1:${port};
    location = /publish { nchan_publisher; nchan_channel_id rows; nchan_message_buffer_length 2000; nchan_message_timeout 30s; }
    location = /subscribe { nchan_subscriber websocket; nchan_channel_id rows; nchan_subscriber_first_message newest; }
  }
}
`;

/** nginx with Nchan, one worker, and a process that publishes what LISTEN brings. */
export const nchan: Peer = {
  name: 'Nchan',
  missing: () =>
    existsSync(MODULE) && programPath('nginx') ? null : 'on Debian: apt-get install nginx libnginx-mod-nchan',
  async start(database) {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), 'rowcast-bench-nchan-'));
    atEnd(() => rmSync(folder, { recursive: true, force: true }));
    const config = join(folder, 'nginx.conf');
    writeFileSync(config, configuration(port, folder));
    const args = ['-e', 'stderr', '-p', folder, '-c', config];
    const server = await startProgram(programPath('nginx') ?? '', { args, ready: /start worker process / });
    const feeder = await startServer('http-feed', [database.url, `http://127.0.0.1:${port}/publish`, 'text/plain']);
    return {
      ...reading(server),
      cpu: () => cpuOfTree(server.pid),
      attend: feeder.attend,
      table: 'notify',
      load: { port, mode: 'ws', path: '/subscribe' },
      feed: () => cpuOf(feeder.pid),
      stop: async () => void (await Promise.all([feeder.stop(), server.stop()])),
    };
  },
};
