import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../server/ground/package-root.js';
import type { Config } from '../../server/settings/config.js';
import { program } from './programs.js';

export interface RowcastProcess {
  readonly child: ChildProcess;
  /** What it has printed so far, on standard output and standard error. */
  output(): string;
  errors(): string;
  /** Its exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
}

const running = new Set<ChildProcess>();

/** For the end of a test file: a test that failed half-way has left its processes behind. */
export function killAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

/** Runs `rowcast …`, in an environment that holds nothing but what is given. */
export function runRowcast(args: readonly string[], env: Record<string, string> = {}, cwd?: string): RowcastProcess {
  return runNode([program('server/main.ts'), ...args], env, cwd);
}

/** Runs a program that uses `rowcast/server`, `rowcast/client` or `pg`, as its reader would save it. */
export async function runScript(
  script: string,
  args: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<RowcastProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'rowcast-script-'));
  const file = join(folder, 'script.mjs');
  const modules = {
    'rowcast/server': program('server/index.ts'),
    'rowcast/client': program('client/node.ts'),
    pg: join(packageRoot(), 'node_modules/pg/esm/index.mjs'),
  };
  const imports = new RegExp(`from '(${Object.keys(modules).join('|')})'`, 'g');
  const found = (_: string, name: keyof typeof modules) => `from ${JSON.stringify(modules[name])}`;
  await writeFile(file, script.replaceAll(imports, found));
  const run = runNode([file, ...args], env);
  run.child.once('close', () => rmSync(folder, { recursive: true }));
  return run;
}

function runNode(args: readonly string[], env: Record<string, string>, cwd?: string): RowcastProcess {
  return runProgram(process.execPath, args, env, cwd);
}

/** Runs a program in an environment that holds nothing but what is given. */
export function runProgram(
  file: string,
  args: readonly string[],
  env: Record<string, string>,
  cwd?: string,
): RowcastProcess {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(file, args, {
    env: { PATH, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
  });
  running.add(child);
  child.once('close', () => running.delete(child));
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const exited = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  return { child, output: () => output, errors: () => errors, exited };
}

export interface GatewayProcess {
  readonly url: string;
  readonly pid: number;
  /** What it has logged so far. */
  errors(): string;
  /** Resident memory in bytes. */
  memory(): Promise<number>;
  kill(signal: NodeJS.Signals): Promise<void>;
  stop(): Promise<void>;
}

/** `rowcast up` as a process of its own, so that it can be killed and measured; `values`: of what is no setting. Resolves when it listens. */
export async function startGatewayProcess(
  databaseUrl: string,
  env: Record<string, string> = {},
  values?: Partial<Config>,
): Promise<GatewayProcess> {
  const settings = { DATABASE_URL: databaseUrl, ROWCAST_PORT: '0', ROWCAST_LOG_LEVEL: 'warn', ...env };
  if (values === undefined) return listening(runRowcast(['up', '--no-demo'], settings));
  return listening(runNode([program('test/support/gateway-main.ts'), JSON.stringify(values)], settings));
}

/** The gateway of a `rowcast up`. Resolves when it listens. */
export async function listening(rowcast: RowcastProcess): Promise<GatewayProcess> {
  const { child, exited } = rowcast;
  const said = new Promise<string>((resolve) => {
    child.stdout?.on('data', () => {
      const url = /^listening on (\S+)$/m.exec(rowcast.output())?.[1];
      if (url !== undefined) resolve(url);
    });
  });
  const url = await Promise.race([
    said,
    exited.then((code) => Promise.reject(new Error(`rowcast up ended with ${code}: ${rowcast.errors()}`))),
  ]);
  return {
    url,
    pid: child.pid ?? 0,
    errors: rowcast.errors,
    async memory() {
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
      return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
    },
    async kill(signal) {
      child.kill(signal);
      await exited;
    },
    async stop() {
      child.kill('SIGTERM');
      const code = await exited;
      if (code !== 0) throw new Error(`rowcast up ended with ${code}: ${rowcast.errors()}`);
    },
  };
}
