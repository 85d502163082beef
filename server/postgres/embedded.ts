import { spawnSync } from 'node:child_process';
import { chown, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { freePort } from '../ground/free-port.js';
import { type Binaries, findBinaries } from './binaries.js';
import { isAlive, type RunAs, startLeashed } from './leash.js';

export interface EmbeddedOptions {
  /** Created when missing. The cluster itself lives in its `pgdata` subdirectory. */
  readonly dataDir: string;
  /** Without a port (or with 0): the one used last time if it is free, else any free one. */
  readonly port?: number;
  /** Run the programs in this directory instead of those of the npm package. */
  readonly binDir?: string;
  readonly settings?: Readonly<Record<string, string>>;
  readonly log?: (line: string) => void;
}

export interface EmbeddedPostgres {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  readonly version: string;
  /** Settles when the server and all its backends are gone, for whatever reason. */
  readonly exited: Promise<void>;
  /** Ends all sessions and shuts down cleanly. */
  stop(): Promise<void>;
  /** Signals the postmaster, to rehearse crashes and stalls. */
  kill(signal: NodeJS.Signals): void;
}

const NOBODY = { uid: 65534, gid: 65534 };
const PORT_ATTEMPTS = 3;

/** Runs PostgreSQL as a child of this process: no installation, no container, no orphan. */
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
      // Somebody may have taken the free port in the meantime.
      const retry = !options.port && attempt < PORT_ATTEMPTS && String(error).includes('Address already in use');
      if (!retry) throw error;
    }
  }
}

/** The address of the server that runs in a data directory right now, started by whichever process; null if none does. */
export async function runningUrl(dataDir: string): Promise<string | null> {
  const lines = (await readFile(join(dataDir, 'pgdata', 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  const [pid, , , port] = lines.map(Number);
  return pid && port && isAlive(pid) ? urlOf(port) : null;
}

function urlOf(port: number): string {
  return `postgres://postgres@127.0.0.1:${port}/postgres`;
}

async function startServer(
  { dataDir, port, settings, log }: EmbeddedOptions & { port: number },
  cluster: string,
  { postgres, version }: Binaries,
  runAs: RunAs,
): Promise<EmbeddedPostgres> {
  const all = {
    listen_addresses: '127.0.0.1',
    // Relative to the cluster: this way a socket's path is never longer than the 107 bytes the kernel allows.
    unix_socket_directories: '.',
    ...settings,
  };
  const args = ['-D', pathFor(runAs, cluster), '-p', `${port}`];
  for (const [name, value] of Object.entries(all)) args.push('-c', `${name}=${value}`);

  const ready = 'database system is ready to accept connections';
  const server = await startLeashed(postgres, args, { cwd: cluster, runAs, ready, log });
  const pid = Number.parseInt(await readFile(join(cluster, 'postmaster.pid'), 'utf8'), 10);
  return {
    ...server,
    url: urlOf(port),
    port,
    dataDir,
    version,
    kill: (signal) => void process.kill(pid, signal),
  };
}

/** A cluster gets its name only when it is complete, so that an interrupted initdb leaves nothing to repair. */
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
    const finished = await startLeashed(initdb, args, { cwd: draft, runAs, ready: 'Success.', log });
    await finished.exited;
    await rename(draft, cluster).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY') throw error; // somebody else has just made it, and the server will tell
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Drafts of processes that died, or that had our pid before us. */
async function removeAbandoned(cluster: string): Promise<void> {
  const parent = resolve(cluster, '..');
  for (const entry of await readdir(parent)) {
    const pid = /^pgdata\.(\d+)$/.exec(entry)?.[1];
    if (pid && (Number(pid) === process.pid || !isAlive(Number(pid))))
      await rm(join(parent, entry), { recursive: true });
  }
}

/** PostgreSQL refuses to run as root, so root starts it as the owner of its files, and gives new files to nobody. */
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

/** Below a directory that only root may enter, such as /root, the server still has its working directory. */
function pathFor(runAs: RunAs, directory: string): string {
  const entered = spawnSync('/bin/sh', ['-c', 'test -x "$0"', directory], { ...runAs, cwd: '/' }).status === 0;
  return entered || process.platform !== 'linux' ? directory : '/proc/self/cwd';
}

/** PostgreSQL keeps the last command line in the cluster, and with it the port that clients may remember. */
async function lastPort(cluster: string): Promise<number> {
  const opts = await readFile(join(cluster, 'postmaster.opts'), 'utf8').catch(() => '');
  return Number(/"-p" "(\d+)"/.exec(opts)?.[1] ?? 0);
}
