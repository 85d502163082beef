/**
 * The built-in carrier: nothing is sent, and workers claim. In the process of a gateway they are woken by the rows that the
 * gateway reads; elsewhere they ask every 20 ms while there is work, and ever less often while there is none.
 */
import type { Logger } from '../../ground/logger.js';
import { Unavailable } from '../../ground/refusal.js';
import type { Bell, Carrier, Consumer, Workplace } from '../carrier.js';
import type { ClaimedTask, Leases } from '../leases.js';

export interface ClaimsOptions {
  readonly leases: Leases;
  readonly bell: Bell | undefined;
  readonly logger: Logger;
}

/** Delays between claims that found nothing, in milliseconds: the first, its factor, and the maximum. */
const POLL = { first: 20, factor: 1.5, max: 500 };

export class Claims implements Carrier {
  readonly name = 'claims';
  readonly #options: ClaimsOptions;

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  async send(): Promise<void> {}

  async consume(workplace: Workplace): Promise<Consumer> {
    return new Hunt(workplace, this.#options);
  }

  async close(): Promise<void> {}
}

/** Claims while there are free slots. */
class Hunt implements Consumer {
  readonly #workplace: Workplace;
  readonly #leases: Leases;
  readonly #logger: Logger;
  readonly #used = new Map<string, number>();
  readonly #filled = new Set<Promise<void>>();
  readonly #hunting: Promise<void>;
  readonly #silence: (() => void) | undefined;
  #stopped = false;
  /** Ends the pause. */
  #wake: (() => void) | undefined;
  #rung = false;

  constructor(workplace: Workplace, { leases, bell, logger }: ClaimsOptions) {
    this.#workplace = workplace;
    this.#leases = leases;
    this.#logger = logger;
    this.#silence = bell?.onRows('execution', () => this.#ring());
    this.#hunting = this.#hunt();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#silence?.();
    this.#ring();
    await this.#hunting;
    await Promise.all(this.#filled);
  }

  async #hunt(): Promise<void> {
    let delay = POLL.first;
    while (!this.#stopped) {
      this.#rung = false;
      const free = this.#free();
      const task = free.length === 0 ? null : await this.#claim(free);
      if (task !== null) {
        delay = POLL.first;
        const filled = this.#fill(task);
        this.#filled.add(filled);
        void filled.then(() => this.#filled.delete(filled));
        continue;
      }
      const rung = await this.#pause(free.length === 0 ? undefined : delay);
      delay = rung ? POLL.first : Math.min(POLL.max, delay * POLL.factor);
    }
  }

  #free(): string[] {
    return [...this.#workplace.slots].flatMap(([type, slots]) => ((this.#used.get(type) ?? 0) < slots ? [type] : []));
  }

  /** Keeps a slot busy for as long as each task hands over the next one. */
  async #fill(task: ClaimedTask): Promise<void> {
    const type = task.agent_type;
    this.#used.set(type, (this.#used.get(type) ?? 0) + 1);
    let next: ClaimedTask | null = task;
    while (next !== null) {
      next = await this.#workplace.run(next);
      // What it has made ready may be of any type.
      this.#ring();
    }
    this.#used.set(type, (this.#used.get(type) ?? 1) - 1);
    this.#ring();
  }

  #ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** Resolves after the delay, or when rung: then to true. */
  #pause(delay: number | undefined): Promise<boolean> {
    if (this.#rung) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = delay === undefined ? undefined : setTimeout(() => done(false), delay);
      const done = (rung: boolean) => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve(rung);
      };
      this.#wake = () => done(true);
    });
  }

  async #claim(types: readonly string[]): Promise<ClaimedTask | null> {
    const { name } = this.#workplace;
    try {
      return await this.#leases.claim(name, types);
    } catch (error) {
      // While the database is away, each attempt would say so.
      const level = error instanceof Unavailable ? 'debug' : 'warn';
      this.#logger[level]({ err: error, worker: name }, 'no task could be claimed');
      return null;
    }
  }
}
