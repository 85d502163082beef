import { Refusal, Unavailable } from '../ground/refusal.js';
import type { Database, DatabaseUse } from '../ports/database.js';

/** When to come back, in milliseconds. */
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
 * The connections of a pool, shared by those who ask: one name has so many at most. So whoever asks for much, or waits for a
 * locked row, waits behind itself, and not in front of everybody else.
 */
export class Shares {
  readonly #width: number;
  readonly #most: number;
  readonly #lines = new Map<string, Line>();

  /** `most`: transactions of one name that wait. */
  constructor(width: number, most: number) {
    this.#width = width;
    this.#most = most;
  }

  /** The same database, in turns. Its transactions also reject with `Refusal` (rate_limited). */
  of(name: string, database: Database, gone: Gone): Database {
    return { transaction: (work) => this.#take(name, gone, () => database.transaction(work)) };
  }

  async #take<T>(name: string, gone: Gone, run: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(name) ?? { running: 0, waiting: [] };
    this.#lines.set(name, line);
    if (line.running < this.#width) line.running += 1;
    else await this.#turn(line, gone);
    try {
      return await run();
    } finally {
      leave(line);
      const next = line.waiting.shift();
      if (next === undefined) line.running -= 1;
      else next.go(); // it runs in this one's place
      if (line.running === 0) this.#lines.delete(name);
    }
  }

  #turn(line: Line, gone: Gone): Promise<void> {
    if (line.waiting.length >= this.#most) leave(line);
    if (line.waiting.length >= this.#most) {
      throw new Refusal('rate_limited', 'too many requests of this user wait already', RETRY_AFTER);
    }
    return new Promise((go, drop) => line.waiting.push({ gone, go, drop }));
  }
}

/** Those for whom nobody waits leave the line. */
function leave({ waiting }: Line): void {
  for (const one of waiting.splice(0)) {
    if (one.gone()) one.drop(new Unavailable('the client has gone'));
    else waiting.push(one);
  }
}
