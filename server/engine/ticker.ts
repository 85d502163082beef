/**
 * What becomes due in executions: leases that run out, tasks that no worker takes, deadlines, waits that end, and
 * schedules. It runs in every gateway; each execution is attended to in a transaction of its own, by the first that locks it.
 */
import { z } from 'zod';
import type { Logger } from '../ground/logger.js';
import { Unavailable } from '../ground/refusal.js';
import { Repeated } from '../ground/repeated.js';
import type { Database } from '../ports/database.js';
import { Calls } from './calls.js';
import { Schedules } from './schedules.js';

/** How often it looks, in milliseconds. A task of a worker that was killed runs again within its lease and twice this. */
const TICK = 400;
/** How often it looks for executions that stand still, and removes what is old, in milliseconds. */
const SWEEP = 60_000;
/** The maximum number of executions of one tick. */
const BATCH = 100;
/** The maximum number of old executions that a sweep deletes. */
const PURGED = 500;
const OLD = `SELECT s.execution_id AS id FROM @extschema@.strategy_executions s
  WHERE s.ended_at < now() - make_interval(days => $1) ORDER BY s.ended_at LIMIT ${PURGED}`;

const found = z.object({ id: z.guid() });

export class Ticker {
  readonly #calls: Calls;
  readonly #schedules: Schedules;
  readonly #logger: Logger;
  readonly #keepDays: number | undefined;
  readonly #ticks: Repeated;
  /** Apart from the ticks, because deleting takes time. */
  readonly #sweeps: Repeated;

  /** `keepDays`: how long executions are kept after their end. */
  constructor(database: Database, logger: Logger, keepDays?: number) {
    this.#keepDays = keepDays;
    this.#calls = new Calls(database);
    this.#schedules = new Schedules(database, logger);
    this.#logger = logger;
    const warn = (message: string) => (error: unknown) => {
      // The gateway itself says that the database is away.
      if (!(error instanceof Unavailable)) logger.warn({ err: error }, message);
    };
    const interval = (time: number) => () => time;
    this.#ticks = new Repeated(() => this.tick(), interval(TICK), warn('executions could not be attended to'));
    this.#sweeps = new Repeated(() => this.sweep(), interval(SWEEP), warn('old executions could not be removed'));
  }

  start(): void {
    this.#ticks.start();
    this.#sweeps.start();
  }

  /** Waits for the present tick. */
  async stop(): Promise<void> {
    await Promise.all([this.#ticks.stop(), this.#sweeps.stop()]);
  }

  async tick(): Promise<void> {
    await this.#attend(false);
    await this.#schedules.run();
  }

  /** Looks for executions that stand still as well, which takes longer, and removes what is old. */
  async sweep(): Promise<void> {
    await this.#attend(true);
    await this.#calls.call('sweep_engine()', [], z.coerce.number());
    if (this.#keepDays === undefined) return;
    await this.#each(OLD, [this.#keepDays], 'deleted', async (id) => {
      while (await this.#calls.call('purge_execution($1)', [id], z.boolean())) if (this.#sweeps.stopped) return;
    });
  }

  #attend(standing: boolean): Promise<void> {
    const due = 'SELECT o AS id FROM rowcast.overdue($1, $2) o';
    return this.#each(due, [BATCH, standing], 'attended to', (id) => this.#calls.call('attend($1)', [id], z.boolean()));
  }

  /** Does something to each execution that a query finds. One that fails keeps it from none of the others. */
  async #each(query: string, values: unknown[], what: string, work: (id: string) => Promise<unknown>): Promise<void> {
    for (const { id } of await this.#calls.transaction((sql) => sql.query(query, values, found))) {
      if (this.#ticks.stopped) return;
      try {
        await work(id);
      } catch (error) {
        if (error instanceof Unavailable) throw error;
        this.#logger.warn({ err: error, execution_id: id }, `an execution could not be ${what}`);
      }
    }
  }
}
