/** What became of the rows of one writer, as far as the writer knows. */
export class Ledger {
  readonly writer: number;
  /** By counter: 1 committed, 2 rolled back, 0 not known. */
  #fates = new Uint8Array(1024);
  #last = 0;
  /** Counters of transactions whose COMMIT got no answer: all of one were committed, or none. */
  readonly unknown: (readonly number[])[] = [];

  constructor(writer: number) {
    this.writer = writer;
  }

  /** How many rows it made, one after the other from 1. */
  get last(): number {
    return this.#last;
  }

  next(): number {
    this.#last += 1;
    if (this.#last >= this.#fates.length) {
      const larger = new Uint8Array(this.#fates.length * 2);
      larger.set(this.#fates);
      this.#fates = larger;
    }
    return this.#last;
  }

  committed(counters: readonly number[]): void {
    for (const counter of counters) this.#fates[counter] = 1;
  }

  rolledBack(counters: readonly number[]): void {
    for (const counter of counters) this.#fates[counter] = 2;
  }

  lost(counters: readonly number[]): void {
    if (counters.length > 0) this.unknown.push([...counters]);
  }

  isCommitted(counter: number): boolean {
    return this.#fates[counter] === 1;
  }

  isRolledBack(counter: number): boolean {
    return this.#fates[counter] === 2;
  }

  get commits(): number {
    return this.#fates.reduce((sum, fate) => sum + (fate === 1 ? 1 : 0), 0);
  }
}
