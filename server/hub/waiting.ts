import type { Clock } from '../ports/clock.js';

/** The first and the maximum delay between attempts, in milliseconds. */
const FIRST_WAIT = 250;
const LONGEST_WAIT = 5_000;

/** Returns the delay after this number of failures, in milliseconds (exponential backoff). */
export function waitAfter(failures: number): number {
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(failures, 10));
}

/** Waits for `wait` milliseconds, or until the function that `onProceed` gets is called. */
export function pause(clock: Clock, wait: number, onProceed: (proceed: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(wait, resolve);
    onProceed(() => {
      cancel();
      resolve();
    });
  });
}

interface Line {
  readonly tasks: Set<() => void>;
  failures: number;
  cancel: () => void;
}

/** Runs tasks again that failed because their stream could not be read: with exponential backoff, or when the feed reports a change of the stream. */
export class Waiting {
  readonly #clock: Clock;
  readonly #lines = new Map<string, Line>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Runs `task` once, later. Returns a function that cancels it. */
  add(stream: string, task: () => void): () => void {
    const line = this.#lines.get(stream) ?? { tasks: new Set(), failures: 0, cancel: () => {} };
    this.#lines.set(stream, line);
    if (line.tasks.size === 0) {
      line.cancel = this.#clock.after(waitAfter(line.failures), () => this.#try(stream, line));
      line.failures += 1;
    }
    line.tasks.add(task);
    return () => {
      if (!line.tasks.delete(task) || line.tasks.size > 0) return;
      line.cancel();
      if (this.#lines.get(stream) === line) this.#lines.delete(stream);
    };
  }

  /** The feed has reported a change of the stream: runs its tasks now. */
  wake(stream: string): void {
    const line = this.#lines.get(stream);
    if (line === undefined) return;
    line.cancel();
    this.#lines.delete(stream);
    this.#run(line);
  }

  close(): void {
    for (const { cancel } of this.#lines.values()) cancel();
    this.#lines.clear();
  }

  #try(stream: string, line: Line): void {
    this.#run(line);
    // Tasks that fail again are added in the meantime, with a longer delay.
    this.#clock.after(FIRST_WAIT, () => {
      if (line.tasks.size === 0 && this.#lines.get(stream) === line) this.#lines.delete(stream);
    });
  }

  #run(line: Line): void {
    const tasks = [...line.tasks];
    line.tasks.clear();
    for (const task of tasks) task();
  }
}
