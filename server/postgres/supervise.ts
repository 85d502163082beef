import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Duplex, Readable } from 'node:stream';

/** The user that a program runs as. Empty: the user of this process. */
export type RunAs = { readonly uid: number; readonly gid: number } | Record<string, never>;

export interface Supervised {
  /** Resolves when the program and all processes it started have exited. */
  readonly exited: Promise<void>;
  /** Interrupts the program and waits until it has exited. */
  stop(): Promise<void>;
}

interface SuperviseOptions {
  readonly cwd: string;
  readonly runAs: RunAs;
  /** The text that the program prints when it is ready. */
  readonly ready: string;
  readonly log?: ((line: string) => void) | undefined;
}

/**
 * Interrupts the program when fd 3 closes, which the kernel does even if this process is killed with SIGKILL. The script
 * ignores the signals that a terminal or a service manager sends to process groups, because this process stops the database
 * itself, after all connections are closed.
 */
const SCRIPT = `
exec 2>&1
"$0" "$@" </dev/null 3<&- & program=$!
trap '' INT HUP TERM
(cat; kill -INT $program) <&3 >/dev/null 2>&1 & watch=$!
wait $program; status=$?
kill -9 $watch
exit $status`;

/** Variables that are passed on: paths of programs, libraries and temporary files, and the time zone. */
const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'TZ', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH'];

/**
 * The environment of the program. Other variables are not passed on: the server takes defaults from some, such as PGDATESTYLE,
 * and other users may be able to read secrets in them. LC_ALL makes its messages English, and is needed on macOS, where PostgreSQL
 * does not start without a valid locale.
 */
function environment(): Record<string, string | undefined> {
  return { ...Object.fromEntries(INHERITED.map((name) => [name, process.env[name]])), LC_ALL: 'C' };
}

/** Starts a program that cannot outlive this process. Rejects with its output if it exits before it is ready. */
export function startSupervised(
  program: string,
  args: readonly string[],
  options: SuperviseOptions,
): Promise<Supervised> {
  const child = spawn('/bin/sh', ['-c', SCRIPT, program, ...args], {
    ...options.runAs,
    cwd: options.cwd,
    env: environment(),
    // In its own session, so that Ctrl-C does not reach it.
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  });
  const lifeline = child.stdio[3] as Duplex;
  lifeline.on('error', () => {}); // the program has exited already, which `exited` reports

  return new Promise((resolve, reject) => {
    let output: string[] | undefined = [];
    // 'close' instead of 'exit', because it waits for the last process with an open output, such as a backend of a killed postmaster.
    const exited = new Promise<void>((settle) => child.once('close', () => settle()));
    const stop = () => {
      lifeline.end();
      return exited;
    };
    child.once('error', reject);
    child.once('exit', () => lifeline.end());
    child.once('close', (code) => {
      if (output) reject(new Error(`${program} exited with status ${code}:\n${output.join('\n')}`));
    });
    createInterface({ input: child.stdio[1] as Readable }).on('line', (line) => {
      options.log?.(line);
      output?.push(line);
      if (!output || !line.includes(options.ready)) return;
      output = undefined;
      resolve({ exited, stop });
    });
  });
}

/** Whether a process with this pid exists. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
