import type { Logger } from '../../ground/logger.js';
import { retrying } from '../rules/retrying.js';

/** Writes are retried as long as the process runs. Delays in milliseconds. */
const AGAIN = { retries: Number.POSITIVE_INFINITY, base: 50, cap: 2_000 } as const;

export interface WriteQueueOptions {
  /** Maximum number of pending writes. Beyond it the oldest is dropped. */
  readonly maxWaiting: number;
  /** How long `add` waits for its write, in milliseconds. */
  readonly maxWait: number;
  readonly logger: Logger;
}

/** The number of writes that are pending, and that were dropped. */
export interface Unwritten {
  readonly waiting: number;
  readonly dropped: number;
}

interface Entry {
  readonly write: () => Promise<unknown>;
  readonly over: () => void;
}

/**
 * Makes writes that the caller does not depend on, one after the other in the order of the calls. A write that fails
 * transiently is retried in the background; any other failed write is logged and dropped. It never throws.
 */
export class WriteQueue {
  readonly #options: WriteQueueOptions;
  readonly #waiting: Entry[] = [];
  /** Resolves when no write is pending. */
  #running: Promise<void> | null = null;
  #current = 0;
  /** A call has waited in vain: until all writes are made, no other call waits. */
  #late = false;
  #dropped = 0;

  constructor(options: WriteQueueOptions) {
    this.#options = options;
  }

  get unwritten(): Unwritten {
    return { waiting: this.#waiting.length + this.#current, dropped: this.#dropped };
  }

  /** Resolves when the write was made or dropped, or after `maxWait`; at once while writes are late. */
  async add(write: () => Promise<unknown>): Promise<void> {
    const { maxWaiting, maxWait } = this.#options;
    const written = new Promise<void>((over) => this.#waiting.push({ write, over }));
    if (this.#waiting.length > maxWaiting) this.#drop(this.#waiting.shift(), new Error('too many writes are pending'));
    this.#running ??= this.#run();
    if (!this.#late && !(await within(maxWait, written))) this.#late = this.#running !== null;
  }

  /** Waits up to `timeout` milliseconds until no write is pending. */
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

/** Whether the promise resolves within `timeout` milliseconds. */
async function within(timeout: number, over: Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), timeout);
  });
  const result = await Promise.race([over.then(() => true), late]);
  clearTimeout(timer);
  return result;
}
