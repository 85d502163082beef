import { Value } from './listeners.js';
import type { Platform } from './platform.js';

/** The time as a store: it moves on every so many milliseconds, in step with others, while `runs` says so. */
export class Ticker extends Value<number> {
  readonly #every: number;
  readonly #platform: Platform;
  readonly #runs: () => boolean;
  #cancel: () => void = () => {};

  /** `initial`: the time before anything looks at it. */
  constructor(every: number, initial: number, platform: Platform, runs: () => boolean) {
    super(
      initial,
      () => this.#begin(),
      () => this.stop(),
    );
    this.#every = every;
    this.#platform = platform;
    this.#runs = runs;
  }

  stop(): void {
    this.#cancel();
  }

  #begin(): void {
    this.#wait();
    if (this.#runs()) this.set(this.#platform.clock.now());
  }

  #wait(): void {
    const { clock, hidden } = this.#platform;
    this.#cancel = clock.after(this.#every - (clock.now() % this.#every), () => {
      this.#wait();
      if (this.#runs() && !hidden()) this.set(clock.now());
    });
  }
}
