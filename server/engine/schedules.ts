/** Starts executions by the clock. A schedule is locked while its execution is started, so that each time starts one. */
import { Cron } from 'croner';
import { z } from 'zod';
import { isTransient } from '../executions/rules/retrying.js';
import type { Logger } from '../ground/logger.js';
import { Unavailable } from '../ground/refusal.js';
import type { Database, Sql } from '../ports/database.js';
import { Calls, nothing } from './calls.js';
import { Engine } from './engine.js';
import { plan } from './plan.js';

const schedule = z.object({
  schedule_id: z.guid(),
  venture_id: z.guid(),
  cron: z.string(),
  timezone: z.string(),
  request: z.unknown(),
  overlap: z.enum(['skip', 'queue', 'cancel']),
  due: z.boolean(),
  last: z.guid().nullable(),
});
type Schedule = z.output<typeof schedule>;

/** `last`: the last execution, if it has not ended. Editors may write any id there: one of another venture does not count. */
const NEXT = `
  SELECT s.schedule_id, s.venture_id, s.cron, s.timezone, s.request, s.overlap, s.next_at IS NOT NULL AS due, e.execution_id AS last
    FROM @extschema@.execution_schedules s
    LEFT JOIN @extschema@.strategy_executions e ON e.execution_id = s.last_execution_id AND e.ended_at IS NULL
      AND EXISTS (SELECT FROM @extschema@.agent_executions x WHERE x.execution_id = e.execution_id AND x.venture_id = s.venture_id)
   WHERE s.enabled AND (s.next_at IS NULL OR s.next_at <= now())
     AND NOT (s.overlap = 'queue' AND e.execution_id IS NOT NULL AND s.next_at IS NOT NULL)
     AND s.schedule_id <> ALL ($1)
   ORDER BY s.next_at NULLS FIRST LIMIT 1 FOR UPDATE OF s SKIP LOCKED`;
const SET = `UPDATE @extschema@.execution_schedules SET next_at = $2, last_execution_id = coalesce($3, last_execution_id), enabled = enabled AND $4
  WHERE schedule_id = $1`;

/** The next time of a cron expression; null if there is none. Throws if the expression or the time zone is malformed. */
export function nextTime(cron: string, timezone: string, after = new Date()): Date | null {
  new Intl.DateTimeFormat('en', { timeZone: timezone }); // throws for a zone that is not known
  const times = new Cron(cron, { timezone, paused: true });
  try {
    return times.nextRun(after);
  } catch (error) {
    // For some dates that never come, croner searches until the stack is full.
    if (error instanceof RangeError) return null;
    throw error;
  }
}

export class Schedules {
  readonly #calls: Calls;
  readonly #engine: Engine;
  readonly #logger: Logger;

  constructor(database: Database, logger: Logger) {
    this.#calls = new Calls(database);
    this.#engine = new Engine(database);
    this.#logger = logger;
  }

  /** Starts what is due, one after the other. One that fails keeps none of the others from being started. */
  async run(): Promise<void> {
    const done: string[] = [];
    for (;;) {
      let present: Schedule | undefined;
      try {
        await this.#calls.transaction(async (sql) => {
          [present] = await sql.query(NEXT, [done], schedule);
          if (present !== undefined && !mustCancel(present)) await this.#turn(sql, present);
        });
        if (present === undefined) return;
        // A transaction touches one execution: the old one is cancelled here, and then the schedule is still due.
        if (mustCancel(present))
          await this.#calls.call('cancel_execution($1, $2)', [present.last, 'its schedule begins anew'], nothing);
        else done.push(present.schedule_id);
      } catch (error) {
        if (present === undefined || error instanceof Unavailable) throw error;
        done.push(present.schedule_id);
        await this.#failed(present, error);
      }
    }
  }

  async #failed(failed: Schedule, error: unknown): Promise<void> {
    const { schedule_id } = failed;
    // The next time may be better: the execution that was to be cancelled has ended meanwhile, or the database was busy.
    if (isTransient(error) || mustCancel(failed)) {
      this.#logger.warn({ err: error, schedule_id }, 'a schedule could not be started, and is tried again');
      return;
    }
    this.#logger.error({ err: error, schedule_id }, 'a schedule cannot be started, and was disabled');
    await this.#calls.transaction((sql) => sql.query(SET, [schedule_id, null, null, false], z.unknown()));
  }

  async #turn(
    sql: Sql,
    { schedule_id, venture_id, cron, timezone, request, overlap, due, last }: Schedule,
  ): Promise<void> {
    const next = nextTime(cron, timezone)?.toISOString() ?? null;
    const begins = due && !(overlap === 'skip' && last !== null);
    const started = begins ? await this.#engine.startIn(sql, venture_id, plan.parse(request), { schedule_id }) : null;
    await sql.query(SET, [schedule_id, next, started?.execution_id ?? null, next !== null], z.unknown());
  }
}

const mustCancel = ({ overlap, last, due }: Schedule): boolean => overlap === 'cancel' && last !== null && due;
