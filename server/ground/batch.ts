/**
 * Combines requests into batches, for statements that handle many items at once. While `width` runs are in progress,
 * further items queue and go into the next run. `run` gets at most `size` items and returns one result for each, in order.
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

  /** Whether no item is queued or in progress. */
  get idle(): boolean {
    return this.#running === 0 && this.#waiting.length === 0;
  }

  /** Resolves to the result of this item. Rejects if the run of its batch rejects. */
  ask(item: Item): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      // After this turn, so that other items of the same turn join the batch.
      queueMicrotask(() => this.#next());
    });
  }

  #next(): void {
    if (this.#running >= this.#width || this.#waiting.length === 0) return;
    const batch = this.#waiting.splice(0, this.#size);
    this.#running += 1;
    // The count is updated before the promises settle, so that their callbacks see the batch as finished.
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
