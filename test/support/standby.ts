import { execFile } from 'node:child_process';
import { chown, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../../server/ground/free-port.js';
import { migrate } from '../../server/postgres/migrate.js';
import { type RunAs, startSupervised } from '../../server/postgres/supervise.js';
import { programPath } from './installed.mjs';
import { type EmbeddedPostgres, startEmbedded } from './server.js';

const NOBODY = { uid: 65534, gid: 65534 };

export interface Standby {
  readonly primary: EmbeddedPostgres;
  readonly url: string;
  stop(): Promise<void>;
}

/** A primary of its own, of the PostgreSQL that is installed, and a standby that follows it. */
export async function startStandby(folder: string): Promise<Standby> {
  const binDir = dirname(programPath('postgresql') ?? '');
  const primary = await startEmbedded({ dataDir: join(folder, 'primary'), binDir, settings: { fsync: 'off' } });
  await migrate(primary.url, { with: ['executions'] });
  const runAs: RunAs = process.getuid?.() === 0 ? NOBODY : {};
  const home = join(folder, 'standby');
  await mkdir(home);
  if ('uid' in runAs) await chown(home, runAs.uid, runAs.gid);
  const data = join(home, 'pgdata');
  const from = ['-h', '127.0.0.1', '-p', `${primary.port}`, '-U', 'postgres', '-D', data, '-R', '-X', 'stream'];
  await promisify(execFile)(join(binDir, 'pg_basebackup'), [...from, '-c', 'fast', '-N'], { ...runAs, cwd: home });
  const port = await freePort();
  const args = ['-D', data, '-p', `${port}`, '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=.'];
  const ready = 'ready to accept read-only connections';
  const standby = await startSupervised(join(binDir, 'postgres'), args, { cwd: data, runAs, ready });
  return {
    primary,
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    async stop() {
      await standby.stop();
      await primary.stop();
    },
  };
}
