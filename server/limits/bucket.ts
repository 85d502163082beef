/** A rate: `perSecond` in the long run, and `burst` at once after a pause. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** Tolerance for sums of fractions, in milliseconds. */
const ROUNDING = 0.001;

/**
 * A token bucket, stored as the time at which it will be full (the generic cell rate algorithm). It needs no timer, and a
 * full bucket can be dropped. Times are in milliseconds, from a clock that never goes back.
 */
export class Bucket {
  readonly #interval: number;
  readonly #depth: number;
  readonly #longestWait: number;
  #fullAt = Number.NEGATIVE_INFINITY;
  #lastTurn = Number.NEGATIVE_INFINITY;

  /** `longestWait`: the most that `take` returns, in milliseconds. A caller that gets it has no turn reserved. */
  constructor({ perSecond, burst }: Rate, longestWait = Number.POSITIVE_INFINITY) {
    this.#interval = 1000 / perSecond;
    this.#depth = burst * this.#interval;
    this.#longestWait = longestWait;
  }

  /** Takes `tokens`, on credit if there are too few; returns the time until the debt is paid. */
  spend(now: number, tokens: number): number {
    this.#fullAt = Math.max(this.#fullAt, now) + tokens * this.#interval;
    const debt = this.#fullAt - this.#depth - now;
    return debt < ROUNDING ? 0 : debt;
  }

  /**
   * Takes tokens and returns 0: one must be there, and the others are on credit. If there is none, returns how long to wait:
   * each rejected caller gets its own turn, one token after the other, so that they do not all come back at the same time.
   */
  take(now: number, tokens = 1): number {
    const fullAt = Math.max(this.#fullAt, now) + this.#interval;
    const room = fullAt - this.#depth;
    if (room - now < ROUNDING) {
      this.#fullAt = fullAt + (tokens - 1) * this.#interval;
      return 0;
    }
    const turn = Math.max(this.#lastTurn + this.#interval, room);
    if (turn - now >= this.#longestWait) return this.#longestWait;
    this.#lastTurn = turn;
    return turn - now;
  }
}
