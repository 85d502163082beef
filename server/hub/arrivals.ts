/** Notifies code of this process that a stream has new rows. It does not say which rows, or how many. */
export class Arrivals {
  readonly #listeners = new Map<string, Set<() => void>>();

  /** Returns a function that ends the calls. */
  on(stream: string, listener: () => void): () => void {
    const known = this.#listeners.get(stream) ?? new Set();
    this.#listeners.set(stream, known.add(listener));
    return () => known.delete(listener);
  }

  /** Called by the tail after a read. */
  ring(streams: Iterable<string>): void {
    for (const stream of streams) for (const listener of this.#listeners.get(stream) ?? []) listener();
  }
}
