/** Work that is repeated until it is stopped. Each time begins `delay()` milliseconds after the last one has ended. */
export class Repeated {
  readonly #work: () => Promise<void>;
  readonly #delay: () => number;
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #present: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(work: () => Promise<void>, delay: () => number, onError: (error: unknown) => void) {
    this.#work = work;
    this.#delay = delay;
    this.#onError = onError;
  }

  /** Work that takes long looks at it, and ends early. */
  get stopped(): boolean {
    return this.#stopped;
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#present = this.#work()
        .catch(this.#onError)
        .then(() => this.start());
    }, this.#delay());
  }

  /** Resolves when the present work has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#present;
  }
}
