import { Refusal, Unavailable } from '../ground/refusal.js';
import type { Database, DatabaseUse } from '../ports/database.js';

/** Retry hint, in milliseconds. */
const RETRY_AFTER = 1_000;

type Gone = DatabaseUse['gone'];

interface Waiting {
  readonly gone: Gone;
  readonly go: () => void;
  readonly drop: (reason: Error) => void;
}

interface Line {
  running: number;
  readonly waiting: Waiting[];
}

/**
 * Shares the connections of a pool: one name uses a bounded number of them at once, and its further transactions wait in a line of
 * their own. So a name that sends many requests, or waits for a locked row, delays itself and not the others.
 */
export class Shares {
  readonly #width: number;
  readonly #maxWaiting: number;
  readonly #lines = new Map<string, Line>();

  /** `width`: transactions of one name that run at once. `maxWaiting`: those that wait. */
  constructor(width: number, maxWaiting: number) {
    this.#width = width;
    this.#maxWaiting = maxWaiting;
  }

  /** The same database, whose transactions take turns. They also reject with `Refusal` (rate_limited). */
  of(name: string, database: Database, gone: Gone): Database {
    return {
      transaction: (work) => this.run(name, gone, () => database.transaction(work)),
      statement: (...query) => this.run(name, gone, () => database.statement(...query)),
    };
  }

  /** Runs a task in the turn of its name. Rejects with `Refusal` (rate_limited), and with `Unavailable` if its client has gone. */
  async run<T>(name: string, gone: Gone, run: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(name) ?? { running: 0, waiting: [] };
    this.#lines.set(name, line);
    if (line.running < this.#width) line.running += 1;
    else await this.#turn(line, gone);
    try {
      return await run();
    } finally {
      dropGone(line);
      const next = line.waiting.shift();
      if (next === undefined) line.running -= 1;
      else next.go(); // it takes over this one's place
      if (line.running === 0) this.#lines.delete(name);
    }
  }

  #turn(line: Line, gone: Gone): Promise<void> {
    if (line.waiting.length >= this.#maxWaiting) dropGone(line);
    if (line.waiting.length >= this.#maxWaiting) {
      throw new Refusal('rate_limited', 'too many requests wait already', RETRY_AFTER);
    }
    return new Promise((go, drop) => line.waiting.push({ gone, go, drop }));
  }
}

/** Removes transactions whose client has disconnected. */
function dropGone({ waiting }: Line): void {
  for (const one of waiting.splice(0)) {
    if (one.gone()) one.drop(new Unavailable('the client has gone'));
    else waiting.push(one);
  }
}
