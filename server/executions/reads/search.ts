import { Batch } from '../../batch.js';
import { Refusal } from '../../refusal.js';

/** Searches that run or wait for their turn, of all and of one subject; one more is refused. */
const MAX_ASKED = 50;
const MAX_ASKED_BY_ONE = 5;
/** When to come back then, in milliseconds. */
const RETRY_AFTER = 2_000;

/** A search may read a whole history. Few of them run at once, so that what is quick never waits for a connection. */
export class Searches {
  readonly #turns: Batch<() => Promise<unknown>, unknown>;
  /** Who asked for each of them. */
  readonly #asked: string[] = [];

  /** `width`: how many run at once. */
  constructor(width: number) {
    this.#turns = new Batch(([search]) => Promise.all([search?.()]), 1, width);
  }

  async run<T>(subject: string, search: () => Promise<T>): Promise<T> {
    const own = this.#asked.filter((each) => each === subject).length;
    if (own >= MAX_ASKED_BY_ONE || this.#asked.length >= MAX_ASKED) {
      throw new Refusal('rate_limited', 'too many searches wait already', RETRY_AFTER);
    }
    this.#asked.push(subject);
    try {
      return (await this.#turns.ask(search)) as T;
    } finally {
      this.#asked.splice(this.#asked.indexOf(subject), 1);
    }
  }
}
