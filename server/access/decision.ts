import { Unavailable } from '../ground/refusal.js';
import type { Clock } from '../ports/clock.js';
import type { AccessQuestion, Authorizer, OnLost } from '../ports/principal.js';

/** Before the database is asked again that did not answer, in milliseconds. */
const RETRY = 250;

/** Whether one principal may read one channel: what was decided, and who relies on it. */
export class Decision {
  readonly question: AccessQuestion;
  readonly #authorizer: Authorizer;
  readonly #clock: Clock;
  /** In milliseconds; nobody relies on an older answer. */
  readonly #longest: number;
  readonly #holders = new Set<OnLost>();
  /** Null where it could not be decided. */
  #allowed: boolean | null = false;
  #decidedAt = Number.NEGATIVE_INFINITY;
  /** Something has changed that the last answer may not know of. */
  #stale = false;
  /** And that the one on its way may not know of. */
  #overtaken = false;
  #asking: Promise<void> | null = null;
  #cancelRetry: () => void = () => {};

  constructor(question: AccessQuestion, authorizer: Authorizer, clock: Clock, longest: number) {
    this.question = question;
    this.#authorizer = authorizer;
    this.#clock = clock;
    this.#longest = longest;
  }

  get held(): boolean {
    return this.#holders.size > 0;
  }

  get allowed(): boolean {
    return this.#allowed === true;
  }

  /** Why not. */
  get code(): Parameters<OnLost>[0] {
    return this.#allowed === null ? 'unavailable' : 'forbidden';
  }

  /** An answer is on its way. */
  get asking(): boolean {
    return this.#asking !== null;
  }

  /** In milliseconds; without end where the answer was overtaken. */
  get age(): number {
    return this.#stale ? Number.POSITIVE_INFINITY : this.#clock.now() - this.#decidedAt;
  }

  hold(holder: OnLost): void {
    this.#holders.add(holder);
  }

  /** False where it was released before. */
  release(holder: OnLost): boolean {
    const held = this.#holders.delete(holder);
    if (!this.held) this.stop();
    return held;
  }

  /** Asks no more on its own. */
  stop(): void {
    this.#cancelRetry();
  }

  /** What was decided may not hold any more. */
  overtake(): void {
    this.#stale = true;
    this.#overtaken = true;
  }

  /** Asks Postgres, once for all who want to know. Rejects with `Unavailable`. */
  ask(): Promise<void> {
    this.#asking ??= this.#ask();
    return this.#asking;
  }

  /**
   * Asks on behalf of those who hold it. While the database is away, nothing new comes from it, and they keep what they
   * have for a while.
   */
  askAgain(): void {
    this.#cancelRetry();
    this.ask().catch((error: unknown) => {
      if (!this.held) return;
      const relied = this.#clock.now() - this.#decidedAt;
      if (!(error instanceof Unavailable) || relied > this.#longest) return this.#settle(null);
      this.#cancelRetry = this.#clock.after(RETRY, () => this.askAgain());
    });
  }

  async #ask(): Promise<void> {
    let allowed: boolean | null;
    try {
      do {
        this.#overtaken = false;
        allowed = await this.#authorizer.mayRead(this.question, this.allowed);
        // A refusal counts at once: bells without end would put it off without end.
      } while (this.#overtaken && allowed);
    } finally {
      // In the same turn: what changes from here on is asked anew.
      this.#asking = null;
    }
    this.#settle(allowed);
  }

  #settle(allowed: boolean | null): void {
    this.#allowed = allowed;
    this.#stale = false;
    this.#decidedAt = this.#clock.now();
    if (allowed) return;
    for (const lost of [...this.#holders]) if (this.#holders.has(lost)) lost(this.code);
  }
}
