import { Refusal } from '../ground/refusal.js';

/** Searches that run or wait, of all subjects and of one; further ones are refused. */
const MAX_SEARCHES = 50;
const MAX_SEARCHES_OF_ONE = 5;
/** Retry hint, in milliseconds. */
const RETRY_AFTER = 2_000;

/** Bounds searches, each of which may read the whole history of a channel. */
export class Searches {
  /** The subject of each search that runs or waits. */
  readonly #subjects: string[] = [];

  /** Rejects with `Refusal` (rate_limited) if too many wait. */
  async run<T>(subject: string, search: () => Promise<T>): Promise<T> {
    const own = this.#subjects.filter((each) => each === subject).length;
    if (own >= MAX_SEARCHES_OF_ONE || this.#subjects.length >= MAX_SEARCHES) {
      throw new Refusal('rate_limited', 'too many searches wait already', RETRY_AFTER);
    }
    this.#subjects.push(subject);
    try {
      return await search();
    } finally {
      this.#subjects.splice(this.#subjects.indexOf(subject), 1);
    }
  }
}
