import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Duplex, Readable } from 'node:stream';

/** Whom a program runs as; empty means as ourselves. */
export type RunAs = { readonly uid: number; readonly gid: number } | Record<string, never>;

export interface Leashed {
  /** Settles when the program and everything it started are gone. */
  readonly exited: Promise<void>;
  /** Interrupts the program and waits for its end. */
  stop(): Promise<void>;
}

interface LeashOptions {
  readonly cwd: string;
  readonly runAs: RunAs;
  /** What the program prints once it is up. */
  readonly ready: string;
  readonly log?: ((line: string) => void) | undefined;
}

/**
 * The program is interrupted when fd 3 closes, and the kernel closes it even when this process is killed with -9.
 * The leash ignores the signals that a terminal or a service manager sends to whole groups: it is for us to stop the
 * database, after we have drained.
 */
const SCRIPT = `
exec 2>&1
"$0" "$@" </dev/null 3<&- & program=$!
trap '' INT HUP TERM
(cat; kill -INT $program) <&3 >/dev/null 2>&1 & watch=$!
wait $program; status=$?
kill -9 $watch
exit $status`;

/** Of our own variables: where programs, libraries and temporary files are, and the time zone. */
const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'TZ', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH'];

/**
 * The server takes defaults from variables such as PGDATESTYLE, and other accounts may read its environment: it gets what it needs, and
 * none of our secrets. English messages, and a locale that exists: PostgreSQL on macOS does not start without one.
 */
function environment(): Record<string, string | undefined> {
  return { ...Object.fromEntries(INHERITED.map((name) => [name, process.env[name]])), LC_ALL: 'C' };
}

/** Starts a program that cannot outlive this process; rejects with its output when it ends before it is ready. */
export function startLeashed(program: string, args: readonly string[], options: LeashOptions): Promise<Leashed> {
  const child = spawn('/bin/sh', ['-c', SCRIPT, program, ...args], {
    ...options.runAs,
    cwd: options.cwd,
    env: environment(),
    // In a session of its own, so that Ctrl-C does not reach it.
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  });
  const leash = child.stdio[3] as Duplex;
  leash.on('error', () => {}); // the program is gone already, which `exited` reports

  return new Promise((resolve, reject) => {
    let output: string[] | undefined = [];
    // Not 'exit': 'close' waits for the last process that holds the output, such as a backend of a killed postmaster.
    const exited = new Promise<void>((settle) => child.once('close', () => settle()));
    const stop = () => {
      leash.end();
      return exited;
    };
    child.once('error', reject);
    child.once('exit', () => leash.end());
    child.once('close', (code) => {
      if (output) reject(new Error(`${program} ended with status ${code}:\n${output.join('\n')}`));
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

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
