import { Refusal } from '../ground/refusal.js';

export interface HeldBounds {
  /** Fewer bytes than this are not counted: connections and requests are bounded, and each holds about as much anyway. */
  readonly small: number;
  /** Bytes that are held at once: for one name, and for all. */
  readonly ofOne: number;
  readonly ofAll: number;
}

/** Retry hint, in milliseconds. */
const RETRY_AFTER = 1_000;

/**
 * Bounds the bytes that are in memory for others: bodies that arrive, responses that wait to be read. A single one may exceed the
 * bounds, else it could never be taken.
 */
export class HeldBytes {
  readonly #bounds: HeldBounds;
  readonly #what: string;
  readonly #held = new Map<string, number>();
  #all = 0;

  /** `what` is the message of the refusal. */
  constructor(bounds: HeldBounds, what: string) {
    this.#bounds = bounds;
    this.#what = what;
  }

  /** Throws `Refusal` (rate_limited) if these bytes would be too many. */
  refuse(name: string, bytes: number): void {
    const { small, ofOne, ofAll } = this.#bounds;
    if (bytes <= small) return;
    if ((this.#held.get(name) ?? 0) < ofOne && this.#all < ofAll) return;
    throw new Refusal('rate_limited', this.#what, RETRY_AFTER);
  }

  /** Counts bytes; returns how to give them back, once. */
  hold(name: string, bytes: number): () => void {
    if (bytes <= this.#bounds.small) return () => {};
    this.#count(name, bytes);
    let given = false;
    return () => {
      if (!given) this.#count(name, -bytes);
      given = true;
    };
  }

  #count(name: string, bytes: number): void {
    this.#all += bytes;
    const held = (this.#held.get(name) ?? 0) + bytes;
    if (held > 0) this.#held.set(name, held);
    else this.#held.delete(name);
  }
}
