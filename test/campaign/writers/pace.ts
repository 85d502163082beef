import { setTimeout as delay } from 'node:timers/promises';
import type { Random } from '../../support/random.js';

/** How fast compared with the mean, in turns of a few seconds: the gateways fall asleep and wake again and again. */
const TEMPOS = [0.02, 0.2, 1, 1.2, 2.6];
const SHORTEST_TURN = 2_000;
const LONGEST_TURN = 8_000;
/** After an outage not more than this much is made up for, in milliseconds at the mean rate. */
const LONGEST_DEBT = 15_000;
const LOOK = 10;

/** Lets rows through at a mean rate that is reached over the whole campaign, faster and slower by turns. */
export class Pace {
  readonly #random: Random;
  readonly #perMs: number;
  #tokens = 0;
  #at = performance.now();
  #turnEnds = 0;
  #tempo = 1;
  #paused = false;
  #even = false;
  #closed = false;

  constructor(rowsPerSecond: number, random: Random) {
    this.#perMs = rowsPerSecond / 1000;
    this.#random = random;
  }

  pause(paused: boolean): void {
    this.#paused = paused;
    this.#at = performance.now();
  }

  /** At the mean rate, without turns: for measuring. */
  even(even: boolean): void {
    this.#even = even;
  }

  close(): void {
    this.#closed = true;
  }

  /** Resolves when so many rows may be written; with false when no more are to be. */
  async take(rows: number): Promise<boolean> {
    for (;;) {
      if (this.#closed) return false;
      this.#refill();
      if (!this.#paused && this.#tokens > 0) {
        this.#tokens -= rows;
        return true;
      }
      await delay(LOOK);
    }
  }

  #refill(): void {
    const now = performance.now();
    if (this.#paused) return;
    if (now > this.#turnEnds) {
      this.#tempo = this.#random.pick(TEMPOS);
      this.#turnEnds = now + this.#random.int(SHORTEST_TURN, LONGEST_TURN);
    }
    const gained = (now - this.#at) * this.#perMs * (this.#even ? 1 : this.#tempo);
    this.#tokens = Math.min(this.#tokens + gained, LONGEST_DEBT * this.#perMs);
    this.#at = now;
  }
}
