import { chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../server/ground/free-port.js';
import { type RunAs, startSupervised } from '../../server/postgres/supervise.js';
import { programPath } from './installed.mjs';

const NOBODY = { uid: 65534, gid: 65534 };
const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

export interface Nginx {
  readonly url: string;
  close(): Promise<void>;
}

/** What belongs into the `http` block. `folder`: an empty one to write to. */
export type NginxConfiguration = (port: number, folder: string) => string;

/** Starts an nginx, which cannot outlive this process. Rejects with what it prints if it does not start. */
export async function startNginx(configuration: NginxConfiguration): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), 'rowcast-nginx-'));
  const written = join(folder, 'written');
  await mkdir(written);
  const runAs: RunAs = process.getuid?.() === 0 ? NOBODY : {};
  if ('uid' in runAs) for (const path of [folder, written]) await chown(path, runAs.uid, runAs.gid);
  const port = await freePort();
  const config = join(folder, 'nginx.conf');
  const lines = [
    'daemon off;',
    'worker_processes 1;',
    `pid ${join(folder, 'pid')};`,
    'error_log stderr notice;',
    'events {}',
    'http {',
    'access_log off;',
    ...TEMPORARY.map((what) => `${what}_temp_path ${join(folder, what)};`),
    configuration(port, written),
    '}',
  ];
  await writeFile(config, `${lines.join('\n')}\n`);
  const started = startSupervised(programPath('nginx') ?? '', ['-e', 'stderr', '-p', folder, '-c', config], {
    cwd: folder,
    runAs,
    ready: 'start worker process ',
  });
  const { stop } = await started.catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true });
    throw new Error('nginx did not start', { cause: error });
  });
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
