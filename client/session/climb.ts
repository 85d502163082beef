/** Tries better rungs from time to time, beside the connection in use, until the best one works. */
import type { Clock } from '../ground/clock.js';
import type { TransportName } from '../transport/rung.js';
import type { Visit } from './visit.js';
import type { VisitEvents } from './visit-options.js';

/** The delay before the first trial, which doubles with each trial, and the longest delay; in milliseconds. */
const FIRST_DELAY = 2_000;
const LAST_DELAY = 600_000;

export interface ClimbOptions {
  readonly clock: Clock;
  /** From 0 to 1. Spreads the trials of clients that lost their connection at the same moment. */
  readonly random: () => number;
  visit(name: TransportName, events: VisitEvents): Visit;
  /** A trial has worked: takes over its visit, which is connected. */
  take(visit: Visit): void;
}

export class Climb {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #visit: ClimbOptions['visit'];
  readonly #take: ClimbOptions['take'];
  #better: readonly TransportName[] = [];
  #delay = FIRST_DELAY;
  #trial: Visit | null = null;
  #due = 0;
  #cancelTimer: (() => void) | null = null;

  constructor({ clock, random, visit, take }: ClimbOptions) {
    this.#clock = clock;
    this.#random = random;
    this.#visit = visit;
    this.#take = take;
  }

  /** Sets the rungs that are better than the present one, the best first. Without any, trials end. */
  aim(better: readonly TransportName[]): void {
    this.#better = better;
    if (better.length === 0) return this.stop();
    if (this.#cancelTimer === null && this.#trial === null) this.#wait();
  }

  /** After a network hint: the delays begin anew, and the next trial is due after the first of them. */
  onNetworkHint(): void {
    this.reset();
    // Hints come in bursts: a later one must not postpone the trial that the first one brought forward.
    if (this.#cancelTimer === null || this.#due - this.#clock.now() <= FIRST_DELAY) return;
    this.stop();
    this.#wait();
  }

  /** The delays begin anew: the best rung has worked for a while, so it may be lost for a moment only. */
  reset(): void {
    this.#delay = FIRST_DELAY;
  }

  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#trial?.close();
    this.#trial = null;
  }

  #wait(): void {
    const delay = this.#delay * (0.75 + this.#random() / 2);
    this.#delay = Math.min(2 * this.#delay, LAST_DELAY);
    this.#tryAfter(delay);
  }

  #tryAfter(delay: number): void {
    this.#due = this.#clock.now() + delay;
    this.#cancelTimer = this.#clock.after(delay, () => {
      this.#cancelTimer = null;
      this.#try(this.#better);
    });
  }

  #try([name, ...others]: readonly TransportName[]): void {
    this.#trial = null;
    if (name === undefined) return this.#wait();
    const trial = this.#visit(name, {
      onConnected: () => {},
      onFrame: () => {},
      onProven: () => {
        this.#trial = null;
        this.#take(trial);
      },
      onEnd: ({ retryAfter = 0 }) => {
        this.#trial = null;
        // A retry hint holds for every rung, and is no failure: the transport has carried it, and the gateway has reserved
        // a turn for this client. It is bounded, because a wrong one would end the trials, or have them follow each other.
        if (retryAfter > 0) this.#tryAfter(Math.min(Math.max(retryAfter, FIRST_DELAY), LAST_DELAY));
        else this.#try(others.filter((other) => this.#better.includes(other)));
      },
    });
    this.#trial = trial;
    trial.begin();
  }
}
