import type { Clock } from '../ports/clock.js';

/** Between two tries for what waits for a stream: the first and the longest, in milliseconds. */
const FIRST_WAIT = 250;
const LONGEST_WAIT = 5_000;

/** The longer it fails, the longer until the next try. */
export function waitAfter(failures: number): number {
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(failures, 10));
}

interface Line {
  readonly tasks: Set<() => void>;
  failures: number;
  cancel: () => void;
}

/** What waits for streams that cannot be read: it is tried again at a growing pace, and when the feed has news of the stream. */
export class Waiting {
  readonly #clock: Clock;
  readonly #lines = new Map<string, Line>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Runs `task` once, later; returns what takes it back. */
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

  /** There is news of the stream. */
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
    // Those that fail again come back in the meantime, and wait longer than before.
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
