/**
 * Gathers what is asked while earlier questions are on their way, and asks it together: `run` answers each of at
 * most `size` items in its place. At most `width` runs are under way at once.
 */
export class Batch<Item, Answer> {
  readonly #run: (items: readonly Item[]) => Promise<readonly Answer[]>;
  readonly #size: number;
  readonly #width: number;
  #running = 0;
  #waiting: { item: Item; resolve(answer: Answer): void; reject(reason: unknown): void }[] = [];

  constructor(run: (items: readonly Item[]) => Promise<readonly Answer[]>, size: number, width: number) {
    this.#run = run;
    this.#size = size;
    this.#width = width;
  }

  /** Nobody waits for an answer. */
  get idle(): boolean {
    return this.#running === 0 && this.#waiting.length === 0;
  }

  ask(item: Item): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      // After this turn: what else is asked in it comes along.
      queueMicrotask(() => this.#next());
    });
  }

  #next(): void {
    if (this.#running >= this.#width || this.#waiting.length === 0) return;
    const batch = this.#waiting.splice(0, this.#size);
    this.#running += 1;
    // Whoever hears an answer finds the batch as it is after it.
    this.#run(batch.map(({ item }) => item)).then(
      (answers) => {
        this.#running -= 1;
        for (const [index, { resolve }] of batch.entries()) resolve(answers[index] as Answer);
        this.#next();
      },
      (reason: unknown) => {
        this.#running -= 1;
        for (const { reject } of batch) reject(reason);
        this.#next();
      },
    );
    this.#next();
  }
}
