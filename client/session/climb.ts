import type { Clock } from '../ground/clock.js';
import type { TransportName } from '../transport/rung.js';
import type { Visit, VisitEvents } from './visit.js';

/** Before a trial, in milliseconds: the first delay, which doubles with each trial, and the longest. */
const FIRST_DELAY = 2_000;
const LAST_DELAY = 600_000;

export interface ClimbOptions {
  readonly clock: Clock;
  /** From 0 to 1: clients that went down together do not come up together. */
  readonly random: () => number;
  visit(name: TransportName, events: VisitEvents): Visit;
  /** A better rung stands: the visit to it is handed over, connected. */
  take(visit: Visit): void;
}

/** Tries the better rungs from time to time, beside the connection that there is, until the best one stands. */
export class Climb {
  readonly #options: ClimbOptions;
  #better: readonly TransportName[] = [];
  #delay = FIRST_DELAY;
  #trial: Visit | null = null;
  #due = 0;
  #cancelTimer: (() => void) | null = null;

  constructor(options: ClimbOptions) {
    this.#options = options;
  }

  /** The rungs that are better than the present one, the best first. Where there is none it rests. */
  aim(better: readonly TransportName[]): void {
    this.#better = better;
    if (better.length === 0) return this.stop();
    if (this.#cancelTimer === null && this.#trial === null) this.#wait();
  }

  /** What did not work before may work now. */
  hurry(): void {
    this.reset();
    // Signs come in bursts: one that came later must not put off what the first brought near.
    if (this.#cancelTimer === null || this.#due - this.#options.clock.now() <= FIRST_DELAY) return;
    this.stop();
    this.#wait();
  }

  /** The best rung was good: if it is lost, that may be for a moment. One that keeps breaking is tried less and less. */
  reset(): void {
    this.#delay = FIRST_DELAY;
  }

  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#trial?.close();
    this.#trial = null;
  }

  #wait(least = 0): void {
    const varied = Math.max(least, this.#delay * (0.75 + this.#options.random() / 2));
    this.#delay = Math.min(2 * this.#delay, LAST_DELAY);
    this.#due = this.#options.clock.now() + varied;
    this.#cancelTimer = this.#options.clock.after(varied, () => {
      this.#cancelTimer = null;
      this.#try(this.#better);
    });
  }

  #try([name, ...others]: readonly TransportName[]): void {
    this.#trial = null;
    if (name === undefined) return this.#wait();
    const trial = this.#options.visit(name, {
      onConnected: () => {},
      onFrame: () => {},
      onProven: () => {
        this.#trial = null;
        this.#options.take(trial);
      },
      onEnd: ({ retryAfter = 0 }) => {
        this.#trial = null;
        // The gateway would say so on every rung. It is not trusted blindly.
        if (retryAfter > 0) this.#wait(Math.min(retryAfter, LAST_DELAY));
        else this.#try(others.filter((other) => this.#better.includes(other)));
      },
    });
    this.#trial = trial;
    trial.begin();
  }
}
