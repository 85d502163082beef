/** States of a fold at some of its events, evenly spaced, so that each event is near one. */
export class Checkpoints<S> {
  readonly #begin: S;
  readonly #states = new Map<number, S>();
  #every = EVERY;

  constructor(begin: S) {
    this.#begin = begin;
  }

  /** The fold passes an event, in order from the checkpoint that `before` gave. */
  pass(seq: number, state: S): void {
    if (seq % this.#every !== 0) return;
    this.#states.set(seq, state);
    if (this.#states.size <= MOST) return;
    this.#every *= 2;
    for (const known of this.#states.keys()) if (known % this.#every !== 0) this.#states.delete(known);
  }

  /** The last one at or before an event. */
  before(seq: number): { seq: number; state: S } {
    for (let known = seq - (seq % this.#every); known > 0; known -= this.#every) {
      const state = this.#states.get(known);
      if (state !== undefined) return { seq: known, state };
    }
    return { seq: 0, state: this.#begin };
  }

  clear(): void {
    this.#states.clear();
    this.#every = EVERY;
  }
}

/** The events between two of them; twice as many as soon as there would be more than `MOST`. */
const EVERY = 500;
const MOST = 64;
