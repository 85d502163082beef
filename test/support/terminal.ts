import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { until } from './until.js';

/** A terminal window: one shell at a time, whose variables stay for the next one. */
export class Terminal {
  readonly #state: string;
  readonly #cwd: string;
  readonly #env: Record<string, string>;
  #shell: ChildProcess | null = null;
  #exited: Promise<number> = Promise.resolve(0);
  #text = '';

  /** `name` is part of the name of a file in `cwd` that keeps the variables. */
  constructor(name: string, cwd: string, env: Record<string, string>) {
    this.#state = join(cwd, `.terminal-${name}`);
    this.#cwd = cwd;
    this.#env = env;
  }

  /** What the commands have printed so far, on standard output and standard error, without the last, incomplete line. */
  lines(): string[] {
    return this.#text.replaceAll('\r', '').split('\n').slice(0, -1);
  }

  /** All that was printed. */
  get text(): string {
    return this.#text;
  }

  /** Types commands, after it has ended what still runs. */
  async type(commands: string): Promise<void> {
    await this.interrupt();
    this.#text = '';
    const file = `'${this.#state}'`;
    const script = `set -ae; exec 2>&1; if [ -f ${file} ]; then . ${file}; fi; trap 'export -p >${file}' EXIT\n${commands}`;
    const shell = spawn('bash', ['-c', script], {
      cwd: this.#cwd,
      env: this.#env,
      detached: true, // a group of its own, as the foreground group of a terminal is
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    shell.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      this.#text += chunk;
    });
    this.#shell = shell;
    this.#exited = once(shell, 'close').then(([code]) => {
      this.#shell = null;
      return (code as number | null) ?? 128;
    });
  }

  /** Waits until the commands have ended. Resolves to the exit code. */
  async ended(deadlineMs: number): Promise<number> {
    await until(() => this.#shell === null, { deadlineMs, what: `the commands to end; printed:\n${this.#text}` });
    return this.#exited;
  }

  /** Ctrl-C: a signal for all processes of the terminal. */
  async interrupt(): Promise<void> {
    this.#signal('SIGINT');
    await this.#exited;
  }

  kill(): void {
    this.#signal('SIGKILL');
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#shell?.pid === undefined) return;
    try {
      process.kill(-this.#shell.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
