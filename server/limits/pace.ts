import { nothing } from '../ground/nothing.js';
import type { Clock } from '../ports/clock.js';
import { Bucket } from './bucket.js';

/** Bytes that are sent to one user, on all its connections. Beyond it, the user's cursors wait, and its other reads are refused. */
const SENT = { perSecond: 8 * 1024 * 1024, burst: 32 * 1024 * 1024 };

/**
 * The bytes that are sent to one user. While it is in debt, its connections wait in one line: each time the debt is paid, the
 * first of them sends one frame. With a timer for each connection, the one whose timer is first would be first every time.
 */
export class Pace {
  readonly #bucket = new Bucket(SENT);
  readonly #clock: Clock;
  readonly #line = new Set<() => void>();
  #cancelTimer = nothing;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts bytes that were sent; returns how long the user is in debt, in milliseconds. */
  spend(bytes: number): number {
    return this.#bucket.spend(this.#clock.now(), bytes);
  }

  /** Whether a frame may be sent now. If not, `turn` is called once when one may be; it is in the line once. */
  admits(turn: () => void): boolean {
    const first = this.#line.size === 0;
    if (first && this.spend(0) === 0) return true;
    this.#line.add(turn);
    if (first) this.#setTimer();
    return false;
  }

  leave(turn: () => void): void {
    if (this.#line.delete(turn)) this.#setTimer();
  }

  #setTimer(): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#line.size > 0 ? this.#clock.after(this.spend(0), () => this.#serve()) : nothing;
  }

  #serve(): void {
    // A connection with more to send joins at the end, and may be served again while the user is not in debt.
    for (const turn of this.#line) {
      if (this.spend(0) > 0) break;
      this.#line.delete(turn);
      turn();
    }
    this.#setTimer();
  }
}
