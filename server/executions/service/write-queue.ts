import type { Logger } from '../../ground/logger.js';
import { retrying } from '../rules/retrying.js';

/** A write is tried again for as long as the program runs; delays in milliseconds. */
const AGAIN = { retries: Number.POSITIVE_INFINITY, base: 50, cap: 2_000 } as const;

export interface WriteQueueOptions {
  /** Writes that may wait; with more, the one that has waited longest is dropped. */
  readonly maxWaiting: number;
  /** How long `add` waits for its write, in milliseconds. */
  readonly patience: number;
  readonly logger: Logger;
}

/** What has not been written: still waits, and never will be. */
export interface Unwritten {
  readonly waiting: number;
  readonly dropped: number;
}

interface Entry {
  readonly write: () => Promise<unknown>;
  readonly over: () => void;
}

/**
 * Writes on whose success nothing depends, one after the other in the order of the calls. One that cannot be made now is
 * tried again in the background; one that can never be made is logged and dropped. Nothing is ever thrown.
 */
export class WriteQueue {
  readonly #options: WriteQueueOptions;
  readonly #waiting: Entry[] = [];
  /** Until nothing waits any more. */
  #running: Promise<void> | null = null;
  #current = 0;
  /** Somebody has waited in vain: until all is written, nobody else does. */
  #late = false;
  #dropped = 0;

  constructor(options: WriteQueueOptions) {
    this.#options = options;
  }

  get unwritten(): Unwritten {
    return { waiting: this.#waiting.length + this.#current, dropped: this.#dropped };
  }

  /** Resolves when the write was made or dropped, or when patience has ended; while writes are late, at once. */
  async add(write: () => Promise<unknown>): Promise<void> {
    const { maxWaiting, patience } = this.#options;
    const written = new Promise<void>((over) => this.#waiting.push({ write, over }));
    if (this.#waiting.length > maxWaiting) this.#drop(this.#waiting.shift(), new Error('too many writes wait'));
    this.#running ??= this.#run();
    if (!this.#late && !(await within(patience, written))) this.#late = this.#running !== null;
  }

  /** Waits until nothing waits any more, at most `timeout` milliseconds. */
  async flush(timeout: number): Promise<Unwritten> {
    if (this.#running !== null) await within(timeout, this.#running);
    return this.unwritten;
  }

  async #run(): Promise<void> {
    this.#current = 1;
    for (let entry = this.#waiting.shift(); entry !== undefined; entry = this.#waiting.shift()) {
      try {
        await retrying(entry.write, { ...AGAIN, background: true });
        entry.over();
      } catch (error) {
        this.#drop(entry, error);
      }
    }
    this.#current = 0;
    this.#late = false;
    this.#running = null;
  }

  #drop(entry: Entry | undefined, error: unknown): void {
    this.#dropped += 1;
    this.#options.logger.warn({ err: error, dropped: this.#dropped }, 'progress was not written');
    entry?.over();
  }
}

/** Whether it was over within `timeout` milliseconds. */
async function within(timeout: number, over: Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), timeout);
  });
  const result = await Promise.race([over.then(() => true), late]);
  clearTimeout(timer);
  return result;
}
