/** What the benchmark has started and must end, in the reverse order: also after an error, on Ctrl-C and on SIGTERM. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';

type End = () => unknown;

/** A program that does not end by itself is killed after that, in milliseconds. */
const PATIENCE = 10_000;

/** The exit code of a shell for a program that a signal ended. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

let ends: End[] = [];
let ending: Promise<void> | undefined;

export function atEnd(end: End): void {
  ends.push(end);
}

async function runAll(all: readonly End[]): Promise<void> {
  for (const end of all.toReversed()) {
    await Promise.resolve(end()).catch((error: unknown) => {
      process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
    });
  }
}

/** Ends what was started, and what is started meanwhile. A second call waits for the first. */
export async function endAll(): Promise<void> {
  await ending;
  while (ends.length > 0) {
    const all = ends;
    ends = [];
    ending = runAll(all);
    await ending;
  }
}

let interrupted = false;

export function endOnSignals(): void {
  for (const [signal, code] of Object.entries(SIGNALS)) {
    process.once(signal, () => {
      interrupted = true;
      void endAll().finally(() => process.exit(code));
    });
  }
}

/** Does not return after a signal: what fails then is what was ended under way, and the process exits soon. */
export async function unlessInterrupted(): Promise<void> {
  if (interrupted) await new Promise(() => {});
}

export interface Program {
  readonly pid: number;
  readonly child: ChildProcess;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

interface ProgramOptions {
  readonly args: readonly string[];
  /** What it prints when it is ready; the match is passed on. Undefined: at once. */
  readonly ready?: RegExp;
  readonly env?: Readonly<Record<string, string>>;
}

const SETPRIV = '/usr/bin/setpriv';

/** On Linux the kernel ends the program with this process, even if this one is killed; the pid is that of the program. */
function bound(program: string, args: readonly string[]): [string, string[]] {
  try {
    accessSync(SETPRIV, constants.X_OK);
    return [SETPRIV, ['--pdeathsig', 'TERM', '--', program, ...args]];
  } catch {
    return [program, [...args]];
  }
}

/** Starts a program in a session of its own, so that Ctrl-C reaches it through this process only. */
export async function startProgram(
  name: string,
  { args, ready, env = {} }: ProgramOptions,
): Promise<Program & { readonly match: RegExpExecArray | null }> {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(...bound(name, args), {
    detached: true,
    env: { PATH, HOME, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.on('error', () => {}); // it has exited, which `exited` reports
  const exited = once(child, 'exit');
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    const killed = setTimeout(() => child.kill('SIGKILL'), PATIENCE);
    await exited;
    clearTimeout(killed);
  };
  atEnd(stop);
  let output = '';
  const match = await new Promise<RegExpExecArray | null>((resolve, reject) => {
    if (!ready) resolve(null);
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data) => {
        if (!ready) return;
        output = `${output}${data}`.slice(-10_000);
        const found = ready.exec(output);
        if (found) resolve(found);
      });
    }
    const failed = () => reject(new Error(`${name} ${args.join(' ')} did not start: ${output}`));
    exited.then(failed, failed);
  });
  return { pid: child.pid ?? 0, child, stop, match };
}

/** What a program complains about is seen. Not by a pipe: each would add listeners to the one standard error. */
export function passOn({ stderr }: ChildProcess): void {
  stderr?.on('data', (data) => void process.stderr.write(data));
}
