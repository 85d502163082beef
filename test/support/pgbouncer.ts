import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../server/ground/free-port.js';
import { type RunAs, startSupervised } from '../../server/postgres/supervise.js';
import { programPath } from './installed.mjs';

/** PgBouncer refuses to run as root. */
const NOBODY = { uid: 65534, gid: 65534 };

export interface PgBouncer {
  /** The same database, by way of the pooler. */
  readonly url: string;
  /** Cuts all connections, as a crash of the pooler does. */
  stop(): Promise<void>;
}

export interface PgBouncerOptions {
  readonly databaseUrl: string;
  readonly poolMode: 'session' | 'transaction';
  /** Connections to the server. */
  readonly poolSize?: number;
}

/** Starts a PgBouncer in front of one server. It cannot outlive this process. */
export async function startPgBouncer({ databaseUrl, poolMode, poolSize = 100 }: PgBouncerOptions): Promise<PgBouncer> {
  const server = new URL(databaseUrl);
  const folder = await mkdtemp(join(tmpdir(), 'rowcast-pgbouncer-'));
  const runAs: RunAs = process.getuid?.() === 0 ? NOBODY : {};
  if ('uid' in runAs) await chown(folder, runAs.uid, runAs.gid);
  const port = await freePort();
  const pidFile = join(folder, 'pid');
  const lines = [
    '[databases]',
    `* = host=${server.hostname} port=${server.port} user=${server.username}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = any',
    `pool_mode = ${poolMode}`,
    `default_pool_size = ${poolSize}`,
    'max_client_conn = 1000',
    'ignore_startup_parameters = extra_float_digits',
    `pidfile = ${pidFile}`,
  ];
  const config = join(folder, 'pgbouncer.ini');
  await writeFile(config, `${lines.join('\n')}\n`);
  const { exited, stop } = await startSupervised(programPath('pgbouncer') ?? '', [config], {
    cwd: folder,
    runAs,
    ready: 'process up',
  });
  const pid = Number(await readFile(pidFile, 'utf8'));
  const url = new URL(databaseUrl);
  url.port = `${port}`;
  url.hostname = '127.0.0.1';
  return {
    url: url.href,
    async stop() {
      // Interrupted, it would wait for its clients to leave.
      process.kill(pid, 'SIGKILL');
      await exited;
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
