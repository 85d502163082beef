/** Names that are remembered; of more, the one that was told longest ago. */
const REMEMBERED = 1_000;

/** Tells things once: what fails for every reader, and at every try, is one line of the log. */
export class Once {
  readonly #told = new Set<string>();

  /** Whether it was not told yet; from now on it was. */
  first(name: string): boolean {
    const first = !this.#told.delete(name);
    this.#told.add(name);
    const [oldest] = this.#told;
    if (this.#told.size > REMEMBERED && oldest !== undefined) this.#told.delete(oldest);
    return first;
  }

  forget(name: string): void {
    this.#told.delete(name);
  }
}
