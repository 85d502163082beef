export interface BackoffLimits {
  /** The longest first delay in milliseconds; each failure doubles it. */
  readonly base: number;
  /** The longest delay ever, in milliseconds. */
  readonly cap: number;
}

/** In milliseconds. */
const LONGEST_HINT = 300_000;

/**
 * Full jitter: each delay is drawn evenly from zero up to a limit that doubles, and still is at the cap, so that
 * thousands of clients that lost the same gateway do not come back in step.
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
 */
export class Backoff {
  readonly #limits: BackoffLimits;
  readonly #random: () => number;
  #failures = 0;

  constructor(limits: BackoffLimits, random: () => number = Math.random) {
    this.#limits = limits;
    this.#random = random;
  }

  next(): number {
    const limit = Math.min(this.#limits.cap, this.#limits.base * 2 ** this.#failures);
    this.#failures += 1;
    return this.#random() * limit;
  }

  /** The delay where the other side said when to come back, in milliseconds: that is no failure. It is not trusted blindly. */
  after(hint: number): number {
    return Math.min(Math.max(0, hint), LONGEST_HINT) + this.#random() * this.#limits.base;
  }

  reset(): void {
    this.#failures = 0;
  }
}
