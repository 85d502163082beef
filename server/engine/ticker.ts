/**
 * What the time brings to executions: leases that run out, tasks that no worker takes, deadlines, waits that end, and
 * schedules. It runs in every gateway; each execution is attended to in a transaction of its own, by the first that locks it.
 */
import { z } from 'zod';
import type { Logger } from '../ground/logger.js';
import { Unavailable } from '../ground/refusal.js';
import type { Database } from '../ports/database.js';
import { Calls } from './calls.js';
import { Schedules } from './schedules.js';

/** How often it looks, in milliseconds. A task of a worker that was killed runs again within its lease and twice this. */
const TICK = 400;
/** How often it looks for executions that stand still, and removes what is old, in milliseconds. */
const SLOW = 60_000;
/** The maximum number of executions of one tick. */
const BATCH = 100;
/** The maximum number of old executions that are deleted each time that it removes what is old. */
const PURGED = 500;

const id = z.object({ id: z.guid() });

export class Ticker {
  readonly #calls: Calls;
  readonly #schedules: Schedules;
  readonly #logger: Logger;
  readonly #keepDays: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ticking: Promise<void> = Promise.resolve();
  #stopped = false;
  #slowAt = 0;

  /** `keepDays`: how long executions are kept after their end. */
  constructor(database: Database, logger: Logger, keepDays?: number) {
    this.#keepDays = keepDays;
    this.#calls = new Calls(database);
    this.#schedules = new Schedules(database, logger);
    this.#logger = logger;
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#ticking = this.tick()
        .catch((error: unknown) => {
          // The gateway itself says that the database is away.
          if (!(error instanceof Unavailable)) this.#logger.warn({ err: error }, 'executions could not be attended to');
        })
        .then(() => {
          if (!this.#stopped) this.start();
        });
    }, TICK);
  }

  /** Waits for the present tick. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#ticking;
  }

  async tick(): Promise<void> {
    const slow = performance.now() >= this.#slowAt;
    if (slow) this.#slowAt = performance.now() + SLOW;
    const due = await this.#calls.transaction((sql) =>
      sql.query('SELECT o AS id FROM rowcast.overdue($1, $2) o', [BATCH, slow], id),
    );
    for (const { id } of due) {
      if (this.#stopped) return;
      await this.#calls.call('attend($1)', [id], z.boolean());
    }
    await this.#schedules.run();
    if (!slow) return;
    await this.#calls.call('sweep_engine()', [], z.coerce.number());
    if (this.#keepDays === undefined) return;
    for (let left = PURGED; left > 0 && !this.#stopped; left -= 1) {
      if (!(await this.#calls.call('purge_execution($1)', [this.#keepDays], z.boolean()))) return;
    }
  }
}
