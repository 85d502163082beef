/** Maximum number of names that are remembered. Beyond it the least recent one is dropped. */
const MAX_NAMES = 1_000;

/** Remembers what was logged, so that an error that every reader and every attempt meets is logged once. */
export class Once {
  readonly #names = new Set<string>();

  /** Returns whether this is the first call for a name. */
  first(name: string): boolean {
    const first = !this.#names.delete(name);
    this.#names.add(name);
    const [oldest] = this.#names;
    if (this.#names.size > MAX_NAMES && oldest !== undefined) this.#names.delete(oldest);
    return first;
  }

  forget(name: string): void {
    this.#names.delete(name);
  }
}
