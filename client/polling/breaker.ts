/** `closed`: requests are made. `open`: none, until a delay is over. `half-open`: one request is on trial. */
export type BreakerState = 'closed' | 'open' | 'half-open';

/** A circuit breaker without a clock: a request that begins while it is open is the trial. */
export class Breaker {
  readonly #limit: number;
  #failures = 0;
  #state: BreakerState = 'closed';

  /** `limit`: the number of failures in a row that open it. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get state(): BreakerState {
    return this.#state;
  }

  /**
   * A request begins. Returns whether it is on trial from now on. If it is given up, or the gateway gives a retry hint,
   * the next request is on trial.
   */
  begin(): boolean {
    const trial = this.#state === 'open';
    if (trial) this.#state = 'half-open';
    return trial;
  }

  succeed(): void {
    this.#failures = 0;
    this.#state = 'closed';
  }

  fail(): void {
    this.#failures += 1;
    if (this.#failures >= this.#limit) this.#state = 'open';
  }
}
