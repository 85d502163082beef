import type { Database } from '../ports/database.js';
import type { Principal } from '../ports/principal.js';
import { Refusal } from '../refusal.js';

/** Transactions of one principal that wait for their turn; one more is refused. */
const MAX_WAITING = 100;
/** When to come back then, in milliseconds. */
const RETRY_AFTER = 1_000;

interface Line {
  running: number;
  readonly waiting: (() => void)[];
}

/**
 * The connections of a pool, shared by those who ask: one has so many at most. So whoever asks for much, or waits for a
 * locked row, waits behind itself, and never in front of everybody else.
 */
export class Shares {
  readonly #width: number;
  readonly #lines = new Map<string, Line>();

  constructor(width: number) {
    this.#width = width;
  }

  /** The same database, in turns. Its transactions also reject with `Refusal` (rate_limited). */
  of({ role, subject }: Principal, database: Database): Database {
    return { transaction: (work) => this.#take(`${role} ${subject}`, () => database.transaction(work)) };
  }

  async #take<T>(name: string, run: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(name) ?? { running: 0, waiting: [] };
    this.#lines.set(name, line);
    if (line.running < this.#width) line.running += 1;
    else await this.#turn(line);
    try {
      return await run();
    } finally {
      const next = line.waiting.shift();
      if (next === undefined) line.running -= 1;
      else next(); // it runs in this one's place
      if (line.running === 0) this.#lines.delete(name);
    }
  }

  #turn({ waiting }: Line): Promise<void> {
    if (waiting.length >= MAX_WAITING) {
      throw new Refusal('rate_limited', 'too many requests of this user wait already', RETRY_AFTER);
    }
    return new Promise((resolve) => waiting.push(resolve));
  }
}
