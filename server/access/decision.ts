import { type AccessQuestion, type Authorizer, type Clock, Unavailable } from '../ports.js';

/** Before the database is asked again that did not answer, in milliseconds. */
const RETRY = 250;

/** Told when the right is lost, and gives the decision back then: `forbidden`, or `unavailable` where the policy itself fails. */
export type OnLost = (code: 'forbidden' | 'unavailable') => void;

/** Whether one principal may read one channel: what was decided, and who relies on it. */
export class Decision {
  readonly question: AccessQuestion;
  readonly #authorizer: Authorizer;
  readonly #clock: Clock;
  readonly #holders = new Set<OnLost>();
  /** Null where the policy failed. */
  #allowed: boolean | null = false;
  #decidedAt = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;
  /** Something has changed that the answer on its way may not know of. */
  #overtaken = false;
  #cancelRetry: () => void = () => {};

  constructor(question: AccessQuestion, authorizer: Authorizer, clock: Clock) {
    this.question = question;
    this.#authorizer = authorizer;
    this.#clock = clock;
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

  /** In milliseconds. */
  get age(): number {
    return this.#clock.now() - this.#decidedAt;
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

  /** What was decided does not hold any more. */
  forget(): void {
    this.#decidedAt = Number.NEGATIVE_INFINITY;
    this.#overtaken = true;
  }

  /** Asks Postgres, once for all who want to know. Rejects with `Unavailable`. */
  ask(): Promise<void> {
    this.#asking ??= this.#ask();
    return this.#asking;
  }

  /** Asks on behalf of those who hold it, for as long as it takes: while the database is away, nothing new comes from it. */
  askAgain(): void {
    this.#cancelRetry();
    this.ask().catch((error: unknown) => {
      if (!this.held) return;
      if (!(error instanceof Unavailable)) return this.#settle(null);
      this.#cancelRetry = this.#clock.after(RETRY, () => this.askAgain());
    });
  }

  async #ask(): Promise<void> {
    let allowed: boolean | null;
    try {
      do {
        this.#overtaken = false;
        allowed = await this.#authorizer.mayRead(this.question);
      } while (this.#overtaken);
    } finally {
      // In the same turn: what changes from here on is asked anew.
      this.#asking = null;
    }
    this.#settle(allowed);
  }

  #settle(allowed: boolean | null): void {
    this.#allowed = allowed;
    this.#decidedAt = this.#clock.now();
    if (allowed) return;
    for (const lost of [...this.#holders]) if (this.#holders.has(lost)) lost(this.code);
  }
}
