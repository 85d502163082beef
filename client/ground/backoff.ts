export interface BackoffLimits {
  /** The longest first delay, in milliseconds. Each failure doubles it. */
  readonly base: number;
  /** The longest delay, in milliseconds. */
  readonly cap: number;
}

/** The longest retry hint of a gateway that is followed, in milliseconds. */
const LONGEST_HINT = 300_000;

/**
 * Exponential backoff with full jitter: each delay is drawn evenly between zero and a limit that doubles with each
 * failure. The delay stays random when the limit has reached its cap; otherwise thousands of clients that lost the same
 * gateway would return at the same moments. Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
 */
export class Backoff {
  readonly #limits: BackoffLimits;
  readonly #random: () => number;
  #failures = 0;

  constructor(limits: BackoffLimits, random: () => number = Math.random) {
    this.#limits = limits;
    this.#random = random;
  }

  /** The delay after one more failure, in milliseconds. */
  next(): number {
    const limit = Math.min(this.#limits.cap, this.#limits.base * 2 ** this.#failures);
    this.#failures += 1;
    return this.#random() * limit;
  }

  /**
   * The delay after a retry hint of the gateway, in milliseconds. A hint does not count as a failure. It is bounded,
   * because a wrong one would keep the client away.
   */
  after(hint: number): number {
    return Math.min(Math.max(0, hint), LONGEST_HINT) + this.#random() * this.#limits.base;
  }

  reset(): void {
    this.#failures = 0;
  }
}
