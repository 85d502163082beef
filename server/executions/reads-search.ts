import { Batch } from '../batch.js';
import { Refusal } from '../refusal.js';

/** Searches that wait for their turn; one more is refused. */
const MAX_WAITING = 50;
/** When to come back then, in milliseconds. */
const RETRY_AFTER = 2_000;

/** A search may read a whole history. Few of them run at once, so that what is quick never waits for a connection. */
export class Searches {
  readonly #turns: Batch<() => Promise<unknown>, unknown>;
  #asked = 0;

  /** `width`: how many run at once. */
  constructor(width: number) {
    this.#turns = new Batch(([search]) => Promise.all([search?.()]), 1, width);
  }

  async run<T>(search: () => Promise<T>): Promise<T> {
    if (this.#asked >= MAX_WAITING) throw new Refusal('rate_limited', 'too many searches wait already', RETRY_AFTER);
    this.#asked += 1;
    try {
      return (await this.#turns.ask(search)) as T;
    } finally {
      this.#asked -= 1;
    }
  }
}
