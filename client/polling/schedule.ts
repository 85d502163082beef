import type { Clock } from '../ground/clock.js';
import { HINT_INTERVAL } from '../session/environment.js';

/** When the next request of a poller is made. Times in milliseconds. */
export class Schedule {
  readonly #clock: Clock;
  readonly #task: () => void;
  /** When the last request was sent. */
  begunAt = Number.NEGATIVE_INFINITY;
  #earliest = 0;
  #dueAt: number | null = null;
  #cancelTimer: () => void = () => {};

  /** `task` makes a request. */
  constructor(clock: Clock, task: () => void) {
    this.#clock = clock;
    this.#task = task;
  }

  /** When the next request is due, in milliseconds since 1970; null if none is planned. */
  get dueAt(): number | null {
    return this.#dueAt;
  }

  /** Follows a retry hint of the gateway: no request is made before `delay` has passed. */
  hold(delay: number): void {
    this.#earliest = this.#clock.now() + delay;
  }

  after(delay: number): void {
    const now = this.#clock.now();
    const wait = Math.max(0, delay, this.#earliest - now);
    this.#cancelTimer();
    this.#dueAt = now + wait;
    this.#cancelTimer = this.#clock.after(wait, () => {
      this.#dueAt = null;
      this.#task();
    });
  }

  /** Before its turn, but not too soon after the last request. */
  early(): void {
    this.after(this.begunAt + HINT_INTERVAL - this.#clock.now());
  }

  cancel(): void {
    this.#cancelTimer();
    this.#dueAt = null;
  }
}
