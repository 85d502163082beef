/** The schedules of a venture, with the rights of a user: row-level security lets members see them, and editors write them. */
import { z } from 'zod';
import { findVenture } from '../executions/rules/existence.js';
import { ofExecutions } from '../executions/schema.js';
import { Refusal } from '../ground/refusal.js';
import type { Database, Sql } from '../ports/database.js';
import { json } from './calls.js';
import { Engine } from './engine.js';
import type { Plan } from './plan.js';
import { nextTime } from './schedules.js';

export const overlap = z.enum(['skip', 'queue', 'cancel']).meta({
  description: 'While its last execution has not ended: `skip` this time, `queue` until then, or `cancel` that one.',
});

export const scheduleView = z
  .object({
    schedule_id: z.guid(),
    venture_id: z.guid(),
    name: z.string(),
    cron: z.string(),
    timezone: z.string(),
    overlap,
    enabled: z
      .boolean()
      .meta({ description: 'False if it is paused, or an execution could not be started: it starts nothing.' }),
    next_at: z.string().nullable().meta({ description: 'When it starts the next execution.' }),
    last_execution_id: z.guid().nullable(),
    request: z.unknown().meta({ description: 'The plan.' }),
  })
  .meta({ id: 'Schedule' });
export type ScheduleView = z.output<typeof scheduleView>;

/** Without the plan, which may be large. */
export const listedSchedule = scheduleView.omit({ request: true }).meta({ id: 'ListedSchedule' });

export interface NewSchedule {
  readonly name: string;
  readonly cron: string;
  readonly timezone: string;
  readonly overlap: z.output<typeof overlap>;
  readonly request: Plan;
}

/** The maximum number of schedules of a list, and so of a venture. */
const MOST = 1_000;

const row = z.object({ row: scheduleView });
const LISTED = `s.schedule_id, s.venture_id, s.name, s.cron, s.timezone, s.overlap, s.enabled,
  CASE WHEN s.enabled THEN s.next_at END AS next_at, s.last_execution_id`;
const SHOWN = `(SELECT row_to_json(x) FROM (SELECT ${LISTED}, s.request) x) AS row`;
const LIST = `SELECT (SELECT row_to_json(x) FROM (SELECT ${LISTED}) x) AS row FROM @extschema@.execution_schedules s WHERE s.venture_id = $1 ORDER BY s.name LIMIT ${MOST}`;
const CREATE = `INSERT INTO @extschema@.execution_schedules AS s (venture_id, name, cron, timezone, overlap, request, next_at)
  SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT count(*) FROM @extschema@.execution_schedules WHERE venture_id = $1) < ${MOST}
  ON CONFLICT DO NOTHING RETURNING ${SHOWN}`;
const FIND = `SELECT ${SHOWN} FROM @extschema@.execution_schedules s WHERE s.schedule_id = $1`;
const CHANGE = `UPDATE @extschema@.execution_schedules s SET enabled = $2, next_at = $3 WHERE s.schedule_id = $1 RETURNING ${SHOWN}`;
const REMOVE = `DELETE FROM @extschema@.execution_schedules s WHERE s.schedule_id = $1 RETURNING ${SHOWN}`;

export function listSchedules(database: Database, venture: string): Promise<z.output<typeof listedSchedule>[]> {
  return ofExecutions(database).transaction(async (sql) => {
    await findVenture(sql, venture);
    return (await sql.query(LIST, [venture], z.object({ row: listedSchedule }))).map(({ row }) => row);
  });
}

/** Rejects with `Refusal` if it is unknown. */
export function readSchedule(database: Database, id: string): Promise<ScheduleView> {
  return ofExecutions(database).transaction((sql) => find(sql, id));
}

/** Rejects with `Refusal`: invalid_request for the cron expression, plan_invalid, state_conflict for a name that is taken. */
export async function createSchedule(database: Database, venture: string, wanted: NewSchedule): Promise<ScheduleView> {
  const { name, cron, timezone, overlap, request } = wanted;
  const next = nextOf(cron, timezone);
  const { valid, checks } = await new Engine(database).validate(venture, request);
  if (!valid) throw new Refusal('plan_invalid', checks[0]?.detail);
  return ofExecutions(database).transaction(async (sql) => {
    await findVenture(sql, venture);
    const [made] = await sql.query(CREATE, [venture, name, cron, timezone, overlap, json(request), next], row);
    if (made === undefined)
      throw new Refusal('state_conflict', `this venture has a schedule ${name}, or ${MOST} of them`);
    return made.row;
  });
}

/** Pauses a schedule, or lets it go on from now: what it would have started meanwhile is not started. */
export function enableSchedule(database: Database, id: string, enabled: boolean): Promise<ScheduleView> {
  return ofExecutions(database).transaction(async (sql) => {
    const { cron, timezone } = await find(sql, id);
    return written(await sql.query(CHANGE, [id, enabled, enabled ? nextOf(cron, timezone) : null], row));
  });
}

/** Its executions stay. */
export function deleteSchedule(database: Database, id: string): Promise<ScheduleView> {
  return ofExecutions(database).transaction(async (sql) => {
    await find(sql, id);
    return written(await sql.query(REMOVE, [id], row));
  });
}

async function find(sql: Sql, id: string): Promise<ScheduleView> {
  const [found] = await sql.query(FIND, [id], row);
  if (found === undefined) throw new Refusal('unknown_schedule');
  return found.row;
}

/** Row-level security hides from a change what its user may not write. */
function written([found]: z.output<typeof row>[]): ScheduleView {
  if (found === undefined) throw new Refusal('forbidden', 'you are not an editor of this venture');
  return found.row;
}

function nextOf(cron: string, timezone: string): string {
  let next: Date | null;
  try {
    next = nextTime(cron, timezone);
  } catch (error) {
    throw new Refusal('invalid_request', `cron or timezone: ${(error as Error).message}`);
  }
  if (next === null) throw new Refusal('invalid_request', `cron: ${cron} never comes`);
  return next.toISOString();
}
