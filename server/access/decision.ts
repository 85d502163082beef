/**
 * One cached access decision: whether one principal may read one channel, and the holders that rely on it. It asks the
 * database at most once at a time, and notifies every holder when the decision becomes no. Used by `Access` only.
 */
import { nothing } from '../ground/nothing.js';
import { Unavailable } from '../ground/refusal.js';
import type { Clock } from '../ports/clock.js';
import type { AccessQuestion, Authorizer, OnLost } from '../ports/principal.js';

/** Delay before a question is repeated that failed because the database could not be reached, in milliseconds. */
const RETRY = 250;

export class Decision {
  readonly question: AccessQuestion;
  readonly #authorizer: Authorizer;
  readonly #clock: Clock;
  /** Maximum age of a decision while the database cannot be reached, in milliseconds. */
  readonly #maxAge: number;
  readonly #holders = new Set<OnLost>();
  /** Why reading is not allowed; null if it is. */
  #refused: Parameters<OnLost>[0] | null = 'forbidden';
  #decidedAt = Number.NEGATIVE_INFINITY;
  /** Whether access has changed since the last decision. */
  #stale = false;
  /** Whether access has changed since the pending question was sent. */
  #invalidated = false;
  #asking: Promise<void> | null = null;
  #cancelRetry: () => void = nothing;

  constructor(question: AccessQuestion, authorizer: Authorizer, clock: Clock, maxAge: number) {
    this.question = question;
    this.#authorizer = authorizer;
    this.#clock = clock;
    this.#maxAge = maxAge;
  }

  get held(): boolean {
    return this.#holders.size > 0;
  }

  get allowed(): boolean {
    return this.#refused === null;
  }

  /** Why reading is not allowed. */
  get code(): Parameters<OnLost>[0] {
    return this.#refused ?? 'forbidden';
  }

  /** Whether a question is pending. */
  get asking(): boolean {
    return this.#asking !== null;
  }

  /** In milliseconds; infinite if the decision was invalidated. */
  get age(): number {
    return this.#stale ? Number.POSITIVE_INFINITY : this.#clock.now() - this.#decidedAt;
  }

  hold(holder: OnLost): void {
    this.#holders.add(holder);
  }

  /** Returns false if the holder was released before. */
  release(holder: OnLost): boolean {
    const held = this.#holders.delete(holder);
    if (!this.held) this.stop();
    return held;
  }

  /** Cancels the retry. */
  stop(): void {
    this.#cancelRetry();
  }

  /** Access has changed: the decision, and the answer to a pending question, may be outdated. */
  invalidate(): void {
    this.#stale = true;
    this.#invalidated = true;
  }

  /** Asks PostgreSQL. Concurrent callers share one question. Rejects with `Unavailable`. */
  ask(): Promise<void> {
    this.#asking ??= this.#ask();
    return this.#asking;
  }

  /** Asks again on behalf of the holders. While the database cannot be reached they keep their right, for at most `maxAge`. */
  recheck(): void {
    this.#cancelRetry();
    this.ask().catch((error: unknown) => {
      if (!this.held) return;
      const age = this.#clock.now() - this.#decidedAt;
      if (!(error instanceof Unavailable) || age > this.#maxAge) return this.#apply('unavailable');
      this.#cancelRetry = this.#clock.after(RETRY, () => this.recheck());
    });
  }

  async #ask(): Promise<void> {
    let allowed: boolean | null;
    try {
      do {
        this.#invalidated = false;
        allowed = await this.#authorizer.mayRead(this.question, this.allowed);
        // A no is applied at once: otherwise changes without end could delay a revocation without end.
      } while (this.#invalidated && allowed);
    } finally {
      // In the same turn as the answer: a later change starts a new question.
      this.#asking = null;
    }
    // Null: the policy or guard itself failed.
    this.#apply(allowed ? null : allowed === null ? 'policy_failed' : 'forbidden');
  }

  #apply(refused: Parameters<OnLost>[0] | null): void {
    this.#refused = refused;
    // A no that was on its way when access changed is applied, and not remembered.
    this.#stale = this.#invalidated;
    this.#decidedAt = this.#clock.now();
    if (refused === null) return;
    for (const lost of [...this.#holders]) if (this.#holders.has(lost)) lost(refused);
  }
}
