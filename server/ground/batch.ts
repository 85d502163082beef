/** At most `ofOne` items of one name are in the same run, so that a name with many items does not hold up the others. */
export interface Fairness<Item> {
  readonly ofOne: number;
  readonly nameOf: (item: Item) => string;
}

interface Waiting<Item, Answer> {
  readonly item: Item;
  resolve(answer: Answer | Promise<Answer>): void;
  reject(reason: unknown): void;
}

/** A result that takes longer is a promise, and does not hold up the next run. */
type Run<Item, Answer> = (items: readonly Item[]) => Promise<readonly (Answer | Promise<Answer>)[]>;

/**
 * Combines requests into batches, for statements that handle many items at once. While `width` runs are in progress,
 * further items queue and go into the next run. `run` gets at most `size` items and returns one result for each, in order.
 */
export class Batch<Item, Answer> {
  readonly #run: Run<Item, Answer>;
  readonly #size: number;
  readonly #width: number;
  readonly #fairness: Fairness<Item> | null;
  #running = 0;
  #waiting: Waiting<Item, Answer>[] = [];

  constructor(run: Run<Item, Answer>, size: number, width: number, fairness: Fairness<Item> | null = null) {
    this.#run = run;
    this.#size = size;
    this.#width = width;
    this.#fairness = fairness;
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
    const batch = this.#take();
    this.#running += 1;
    // The count is updated before the promises settle, so that their callbacks see the batch as finished.
    this.#run(batch.map(({ item }) => item)).then(
      (answers) => {
        this.#running -= 1;
        for (const [index, { resolve }] of batch.entries()) resolve(answers[index] as Answer | Promise<Answer>);
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

  #take(): Waiting<Item, Answer>[] {
    if (this.#fairness === null) return this.#waiting.splice(0, this.#size);
    const { ofOne, nameOf } = this.#fairness;
    const counts = new Map<string, number>();
    const batch: Waiting<Item, Answer>[] = [];
    const later: Waiting<Item, Answer>[] = [];
    for (const waiting of this.#waiting) {
      const name = nameOf(waiting.item);
      const count = counts.get(name) ?? 0;
      const fits = batch.length < this.#size && count < ofOne;
      if (fits) counts.set(name, count + 1);
      (fits ? batch : later).push(waiting);
    }
    this.#waiting = later;
    return batch;
  }
}
