/** The numbers of waiting events at which the stream is stopped, and resumed. */
const HIGH = 1_000;
const LOW = 100;

export interface QueueEvents {
  /** The loop is behind: deliver no more events. */
  onFull(): void;
  /** The loop has caught up: deliver events again. */
  onDrained(): void;
  /** The application left the loop. */
  onReturn(): void;
}

/** The events that wait for a `for await` loop. It holds little more than HIGH of them (I6). */
export class EventQueue<T> implements AsyncIterableIterator<T> {
  readonly #events: QueueEvents;
  readonly #waiting: T[] = [];
  readonly #readers: { resolve(result: IteratorResult<T>): void; reject(reason: unknown): void }[] = [];
  #full = false;
  #used = false;
  #end: { error?: Error } | null = null;

  constructor(events: QueueEvents) {
    this.#events = events;
  }

  /** Whether an event was ever pushed. */
  get used(): boolean {
    return this.#used;
  }

  push(value: T): void {
    if (this.#end !== null) return;
    this.#used = true;
    const reader = this.#readers.shift();
    if (reader !== undefined) return reader.resolve({ value, done: false });
    this.#waiting.push(value);
    if (this.#waiting.length < HIGH || this.#full) return;
    this.#full = true;
    this.#events.onFull();
  }

  /** Ends the loop after the events that wait; with an error, by throwing it. */
  end(error?: Error): void {
    this.#end ??= error === undefined ? {} : { error };
    for (const reader of this.#readers.splice(0)) this.next().then(reader.resolve, reader.reject);
  }

  async next(): Promise<IteratorResult<T>> {
    const value = this.#waiting.shift();
    if (value !== undefined) {
      if (this.#full && this.#waiting.length <= LOW) {
        this.#full = false;
        this.#events.onDrained();
      }
      return { value, done: false };
    }
    if (this.#end?.error !== undefined) throw this.#end.error;
    if (this.#end !== null) return { value: undefined, done: true };
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  async return(): Promise<IteratorResult<T>> {
    this.#waiting.length = 0;
    this.end();
    this.#events.onReturn();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
