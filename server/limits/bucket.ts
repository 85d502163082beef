/** So many per second in the long run, and so many at once after a rest. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** Sums of fractions are not exact; in milliseconds. */
const ROUNDING = 0.001;

/**
 * A token bucket, kept as the moment at which it will be full again (the generic cell rate algorithm): no timer
 * fills it, and one that is full is worth nothing to remember. Times in milliseconds of a clock that never goes back.
 */
export class Bucket {
  readonly #interval: number;
  readonly #depth: number;
  readonly #longestWait: number;
  #fullAt = Number.NEGATIVE_INFINITY;
  #lastTurn = Number.NEGATIVE_INFINITY;

  /** `longestWait`: the most that `take` says, in milliseconds; who hears it stands in no queue. */
  constructor({ perSecond, burst }: Rate, longestWait = Number.POSITIVE_INFINITY) {
    this.#interval = 1000 / perSecond;
    this.#depth = burst * this.#interval;
    this.#longestWait = longestWait;
  }

  /** Takes `tokens`, on credit if need be: for how long nothing more may be taken until the debt is paid. */
  spend(now: number, tokens: number): number {
    this.#fullAt = Math.max(this.#fullAt, now) + tokens * this.#interval;
    return Math.max(0, this.#fullAt - this.#depth - now);
  }

  /**
   * Takes one token and returns 0; where there is none, how long to stay away. Each of those turned away gets a turn
   * of its own, one token apart, so that they do not come back together.
   */
  take(now: number): number {
    const fullAt = Math.max(this.#fullAt, now) + this.#interval;
    const room = fullAt - this.#depth;
    if (room - now < ROUNDING) {
      this.#fullAt = fullAt;
      return 0;
    }
    const turn = Math.max(this.#lastTurn + this.#interval, room);
    if (turn - now >= this.#longestWait) return this.#longestWait;
    this.#lastTurn = turn;
    return turn - now;
  }
}
