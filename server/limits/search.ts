import { Refusal } from '../ground/refusal.js';

/** Searches that run or wait for their turn, of all and of one subject; one more is refused. */
const MAX_ASKED = 50;
const MAX_ASKED_BY_ONE = 5;
/** When to come back then, in milliseconds. */
const RETRY_AFTER = 2_000;

/** Bounds searches, each of which may read a whole history. */
export class Searches {
  /** Who asked for each of them. */
  readonly #asked: string[] = [];

  /** Rejects with `Refusal` (rate_limited) where too many wait. */
  async run<T>(subject: string, search: () => Promise<T>): Promise<T> {
    const own = this.#asked.filter((each) => each === subject).length;
    if (own >= MAX_ASKED_BY_ONE || this.#asked.length >= MAX_ASKED) {
      throw new Refusal('rate_limited', 'too many searches wait already', RETRY_AFTER);
    }
    this.#asked.push(subject);
    try {
      return await search();
    } finally {
      this.#asked.splice(this.#asked.indexOf(subject), 1);
    }
  }
}
