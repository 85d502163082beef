/**
 * Runs an embedded PostgreSQL as a child of this process, for `rowcast up` without DATABASE_URL and for tests: creates the
 * cluster on the first start, chooses a port, and starts and stops the server. The server never outlives this process.
 *
 * It asks for no password, and every client is a superuser, which may run programs. So it listens on a socket in the
 * folder of the cluster only, which PostgreSQL requires to be closed to other accounts (mode 700). The port is the name of
 * the socket. Tests that need TCP set `listen_addresses`.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chown, lstat, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { freePort } from '../ground/free-port.js';
import { type Binaries, findBinaries } from './binaries.js';
import { isAlive, type RunAs, startSupervised } from './supervise.js';

export interface EmbeddedOptions {
  /** Created if missing. The cluster is in its subdirectory `pgdata`. */
  readonly dataDir: string;
  /** Undefined or 0: the port of the last start if it is free, otherwise any free port. */
  readonly port?: number;
  /** The directory of the programs to run, instead of those of the npm package. */
  readonly binDir?: string;
  readonly settings?: Readonly<Record<string, string>>;
  readonly log?: (line: string) => void;
}

export interface EmbeddedPostgres {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  readonly version: string;
  /** Resolves when the server and all its backends have exited, for whatever reason. */
  readonly exited: Promise<void>;
  /** Closes all sessions and shuts down cleanly. */
  stop(): Promise<void>;
  /** Signals the postmaster, so that tests can cause crashes and stalls. */
  kill(signal: NodeJS.Signals): void;
}

const NOBODY = { uid: 65534, gid: 65534 };
const PORT_ATTEMPTS = 3;

/** Starts the server. Rejects if one is already running in the same directory. */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const dataDir = resolve(options.dataDir);
  const cluster = join(dataDir, 'pgdata');

  const runAs = await serverUser(cluster);
  const binaries = await findBinaries(runAs, options.binDir);
  await mkdir(dataDir, { recursive: true });
  if (!(await ownerOf(cluster))) await createCluster(cluster, binaries, runAs, options.log);

  for (let attempt = 1; ; attempt++) {
    const port = options.port || (await freePort(await lastPort(cluster)));
    try {
      return await startServer({ ...options, dataDir, port }, cluster, binaries, runAs);
    } catch (error) {
      const running = /lock file "postmaster.pid" already exists\n.*?PID (\d+)/.exec(String(error));
      if (running) throw new Error(`PostgreSQL is already running in ${dataDir} (pid ${running[1]})`, { cause: error });
      // Another process may have taken the free port in the meantime.
      const retry = !options.port && attempt < PORT_ATTEMPTS && String(error).includes('Address already in use');
      if (!retry) throw error;
    }
  }
}

/** Returns the URL of the server that is running in a data directory, whatever process started it; null if none is. */
export async function runningUrl(dataDir: string): Promise<string | null> {
  const lines = (await readFile(join(dataDir, 'pgdata', 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  const [pid, , , port] = lines.map(Number);
  return pid && port && isAlive(pid) ? urlOf(resolve(dataDir, 'pgdata'), port) : null;
}

/** The most that the kernel allows for the path of a socket, in bytes: 107 on Linux, 103 on macOS. */
const MAX_SOCKET_PATH = 103;

async function urlOf(cluster: string, port: number): Promise<string> {
  return `postgres://postgres@${encodeURIComponent(await socketFolder(cluster))}:${port}/postgres`;
}

/** The cluster, or a link to it whose path is short enough, in a folder that belongs to this account alone. */
async function socketFolder(cluster: string): Promise<string> {
  if (Buffer.byteLength(join(cluster, '.s.PGSQL.65535')) <= MAX_SOCKET_PATH) return cluster;
  const folder = join(tmpdir(), `rowcast-${createHash('sha256').update(cluster).digest('hex').slice(0, 16)}`);
  await mkdir(folder, { mode: 0o700 }).catch(() => {});
  const { uid, mode } = await lstat(folder);
  if (uid !== process.getuid?.() || (mode & 0o777) !== 0o700) {
    throw new Error(`the folder ${folder} belongs to another account: remove it, or name a shorter ROWCAST_DATA_DIR`);
  }
  const link = join(folder, 'pgdata');
  await symlink(cluster, link).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  return link;
}

async function startServer(
  { dataDir, port, settings, log }: EmbeddedOptions & { port: number },
  cluster: string,
  { postgres, version }: Binaries,
  runAs: RunAs,
): Promise<EmbeddedPostgres> {
  // The socket is relative to the cluster, which the server may enter even where it may not enter the folders above.
  const all = { listen_addresses: '', unix_socket_directories: '.', ...settings };
  const args = ['-D', pathFor(runAs, cluster), '-p', `${port}`];
  for (const [name, value] of Object.entries(all)) args.push('-c', `${name}=${value}`);

  const ready = 'database system is ready to accept connections';
  const server = await startSupervised(postgres, args, { cwd: cluster, runAs, ready, log });
  const pid = Number.parseInt(await readFile(join(cluster, 'postmaster.pid'), 'utf8'), 10);
  return {
    ...server,
    url: all.listen_addresses === '' ? await urlOf(cluster, port) : `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    dataDir,
    version,
    kill: (signal) => void process.kill(pid, signal),
  };
}

/** Creates the cluster in a draft that is renamed when it is complete, so that an interrupted initdb leaves nothing to repair. */
async function createCluster(
  cluster: string,
  { initdb, version }: Binaries,
  runAs: RunAs,
  log: EmbeddedOptions['log'],
) {
  await removeAbandoned(cluster);
  const draft = `${cluster}.${process.pid}`;
  await mkdir(draft, { mode: 0o700 });
  if ('uid' in runAs) await chown(draft, runAs.uid, runAs.gid);

  const args = ['-D', pathFor(runAs, draft), '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '-N'];
  if (Number.parseInt(version, 10) >= 17) args.push('--locale-provider=builtin', '--builtin-locale=C.UTF-8');
  try {
    const finished = await startSupervised(initdb, args, { cwd: draft, runAs, ready: 'Success.', log });
    await finished.exited;
    await rename(draft, cluster).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY') throw error; // another process has just created it, and its server will be found
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Removes drafts of processes that no longer exist, or that had the pid of this one before. */
async function removeAbandoned(cluster: string): Promise<void> {
  const parent = resolve(cluster, '..');
  for (const entry of await readdir(parent)) {
    const pid = /^pgdata\.(\d+)$/.exec(entry)?.[1];
    if (pid && (Number(pid) === process.pid || !isAlive(Number(pid))))
      await rm(join(parent, entry), { recursive: true });
  }
}

/** PostgreSQL refuses to run as root: root runs it as the owner of its files, and creates new files as the user `nobody`. */
async function serverUser(cluster: string): Promise<RunAs> {
  if (process.getuid?.() !== 0) return {};
  const owner = await ownerOf(cluster);
  return owner && owner.uid !== 0 ? owner : NOBODY;
}

function ownerOf(path: string): Promise<{ uid: number; gid: number } | undefined> {
  return stat(path).then(
    ({ uid, gid }) => ({ uid, gid }),
    () => undefined,
  );
}

/** In a directory that only root may enter, such as /root, the server can still access its working directory. */
function pathFor(runAs: RunAs, directory: string): string {
  const entered = spawnSync('/bin/sh', ['-c', 'test -x "$0"', directory], { ...runAs, cwd: '/' }).status === 0;
  return entered || process.platform !== 'linux' ? directory : '/proc/self/cwd';
}

/** Returns the port of the last start, which clients may have stored, from the command line that PostgreSQL keeps in the cluster. */
async function lastPort(cluster: string): Promise<number> {
  const opts = await readFile(join(cluster, 'postmaster.opts'), 'utf8').catch(() => '');
  return Number(/"-p" "(\d+)"/.exec(opts)?.[1] ?? 0);
}
