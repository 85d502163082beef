/** The load client as a child process: see load.c. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { packageRoot } from '../../../server/ground/package-root.js';
import { passOn, startProgram } from './ends.js';
import { cpuOf } from './processes.js';

export type Mode = 'rowcast' | 'ws' | 'sio' | 'nats' | 'sse';

export interface LoadOptions {
  readonly port: number;
  readonly mode: Mode;
  readonly n?: number;
  readonly path?: string;
  readonly chan?: string;
  /** How many channels the pattern names. */
  readonly m?: number;
  /** Subscriptions of each connection. */
  readonly k?: number;
  readonly since?: 'start' | 'now';
  /** Each so many-th connection is read in full. */
  readonly sample?: number;
  readonly inflight?: number;
  readonly reconnect?: number;
  readonly idle?: number;
}

export interface Snapshot {
  readonly rows: number;
  readonly frames: number;
  readonly bytes: number;
  readonly live: number;
  readonly failures: number;
  readonly fewest: number;
  readonly most: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  readonly gaps: number;
  readonly resets: number;
  readonly errors: number;
}

export interface Load {
  readonly pid: number;
  cpu(): number;
  count(): Promise<number>;
  snapshot(): Promise<Snapshot>;
  /** Forgets the latencies and gaps so far. */
  reset(): void;
  stop(): Promise<void>;
}

/** The client in C, compiled once; null without a compiler. */
function compiled(): string | null {
  const source = join(import.meta.dirname, 'load.c');
  const cache = join(packageRoot(), 'node_modules/.cache/rowcast-bench');
  const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16);
  const program = join(cache, `load-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(cache, { recursive: true });
  try {
    execFileSync('gcc', ['-O3', '-march=native', '-o', program, source, '-lm'], { stdio: 'pipe' });
    return program;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** The client in JavaScript takes more CPU, so it may be what limits a run; which of the two it was is told with the figures. */
function command(): { program: string; args: readonly string[] } {
  const program = compiled();
  if (program !== null) return { program, args: [] };
  return { program: process.execPath, args: ['--import', 'tsx', join(import.meta.dirname, 'load-client.ts')] };
}

export const loadLanguage = () => (compiled() === null ? 'JavaScript' : 'C');

/** How often the connections are counted until all are live, in milliseconds, and for how long. */
const LOOK = 30;
const OPENED_WITHIN = 90_000;

/** Opens the connections, and waits until all are live. */
export async function startLoad(options: LoadOptions): Promise<Load> {
  const { program, args } = command();
  const pairs = Object.entries(options).map(([name, value]) => `${name}=${value}`);
  const { child, pid, stop } = await startProgram(program, { args: [...args, ...pairs] });
  const waiting: ((line: string) => void)[] = [];
  if (!child.stdout || !child.stdin) throw new Error('the load client has no pipes');
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(line));
  passOn(child);
  child.once('exit', () => {
    for (const resolve of waiting.splice(0)) resolve('{}');
  });
  const { stdin } = child;
  const ask = (letter: string) =>
    new Promise<string>((resolve) => {
      waiting.push(resolve);
      stdin.write(letter);
    });
  const snapshot = async () => JSON.parse(await ask('s')) as Snapshot;
  const until = performance.now() + OPENED_WITHIN;
  for (let seen = await snapshot(); seen.live !== (options.n ?? 1); seen = await snapshot()) {
    if (child.exitCode !== null || performance.now() > until) {
      throw new Error(`the load client did not open its connections: ${JSON.stringify(seen)}`);
    }
    await delay(LOOK);
  }
  return {
    pid,
    cpu: () => cpuOf(pid),
    count: async () => Number(await ask('c')),
    snapshot,
    reset: () => void stdin.write('r'),
    stop: () => stop(),
  };
}
