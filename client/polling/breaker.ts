/** `closed`: requests pass. `open`: none, until a delay is over. `half-open`: one is on trial. */
export type BreakerState = 'closed' | 'open' | 'half-open';

/**
 * A circuit breaker: after so many failures in a row the gateway is left alone, and then asked once. It keeps no time:
 * whoever begins a request while it is open begins the trial.
 */
export class Breaker {
  readonly #limit: number;
  #failures = 0;
  #state: BreakerState = 'closed';

  /** `limit`: how many failures in a row open it. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get state(): BreakerState {
    return this.#state;
  }

  /** A request begins. One that is given up, or put off by the gateway, leaves the trial to the next. */
  begin(): void {
    if (this.#state === 'open') this.#state = 'half-open';
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
