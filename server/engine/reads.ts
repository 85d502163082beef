/** What the tables say of an execution, its tasks, and the workers. Each is one query with the rights of the reader. */
import { z } from 'zod';
import { PAGE_BYTES } from '../executions/reads/logs.js';
import { refuseUnseen } from '../executions/rules/existence.js';
import { POSITION } from '../executions/rules/position.js';
import { position, status } from '../executions/rules/rows.js';
import { ofExecutions } from '../executions/schema.js';
import { Refusal } from '../ground/refusal.js';
import type { Database, Sql } from '../ports/database.js';

const time = z.string().nullable();
const counts = z.object({
  total: z.int(),
  open: z.int(),
  running: z.int(),
  completed: z.int(),
  failed: z.int(),
  skipped: z.int(),
  cancelled: z.int(),
});

export const executionStatus = z
  .object({
    execution_id: z.guid(),
    venture_id: z.guid(),
    strategy_id: z.string().nullable(),
    status,
    pause_reason: z.string().nullable(),
    on_failure: z.string(),
    tasks: counts,
    budget: z.number().nullable(),
    spent: z.number(),
    forked_from: z.guid().nullable(),
    started_at: time,
    ended_at: time,
    deadline_at: time,
    position: position.meta({ description: 'Events after it are newer than this.' }),
  })
  .meta({ id: 'EngineExecution' });
export type ExecutionStatusView = z.output<typeof executionStatus>;

const STATUS = `
  SELECT row_to_json(x) AS row FROM (
    SELECT e.execution_id, e.venture_id, s.strategy_id, e.status, s.pause_reason, s.on_failure,
           (SELECT json_build_object('total', count(*), 'running', count(*) FILTER (WHERE t.status = 'running'),
               'completed', count(*) FILTER (WHERE t.status = 'completed'), 'failed', count(*) FILTER (WHERE t.status = 'failed'),
               'skipped', count(*) FILTER (WHERE t.status = 'skipped'), 'cancelled', count(*) FILTER (WHERE t.status = 'cancelled'),
               'open', count(*) FILTER (WHERE t.status IN ('blocked', 'ready', 'running', 'waiting')))
              FROM @extschema@.agent_tasks t WHERE t.execution_id = e.execution_id) AS tasks,
           s.budget, s.spent, s.forked_from, s.started_at, s.ended_at, s.deadline_at, ${POSITION} AS position
      FROM @extschema@.agent_executions e JOIN @extschema@.strategy_executions s USING (execution_id) WHERE e.execution_id = $1) x`;

const SEEN = `SELECT ${POSITION} AS position FROM @extschema@.agent_executions e WHERE e.execution_id = $1`;

async function foundIn(sql: Sql, id: string): Promise<ExecutionStatusView | undefined> {
  const [found] = await sql.query(STATUS, [id], z.object({ row: executionStatus }));
  return found?.row;
}

/** Rejects with `Refusal` (unknown_execution, forbidden). */
export const statusIn = async (sql: Sql, id: string): Promise<ExecutionStatusView> =>
  (await foundIn(sql, id)) ?? refuseUnseen(sql, 'execution', id);

export function readStatus(database: Database, id: string): Promise<ExecutionStatusView> {
  return ofExecutions(database).transaction((sql) => statusIn(sql, id));
}

export const taskView = z
  .object({
    task_id: z.guid(),
    name: z.string(),
    agent_type: z.string(),
    kind: z.string(),
    status: z.enum(['blocked', 'ready', 'running', 'waiting', 'completed', 'failed', 'skipped', 'cancelled']),
    stage: z.int().nullable(),
    needs: z.array(z.string()),
    attempt: z.int(),
    max_attempts: z.int(),
    priority: z.int(),
    worker: z.string().nullable(),
    because: z.string().nullable(),
    input: z.unknown(),
    output: z.unknown(),
    error: z.unknown(),
    usage: z.unknown(),
    run_at: time,
    started_at: time,
    ended_at: time,
  })
  .meta({ id: 'AgentTask' });

/** `values`: an SQL condition for whether their input and output are read. */
const taskColumns = (values: string) => `
  t.task_id, t.name, t.agent_type, t.kind, t.status, t.stage_number AS stage, t.attempt, t.max_attempts, t.priority, t.worker_id AS worker,
  t.because, CASE WHEN ${values} THEN t.input END AS input, CASE WHEN ${values} THEN t.output END AS output, t.error, t.usage,
  nullif(t.run_at, '-infinity') AS run_at, t.started_at, t.ended_at,
  ARRAY(SELECT b.name FROM @extschema@.agent_task_dependencies d JOIN @extschema@.agent_tasks b ON b.task_id = d.depends_on
         WHERE d.task_id = t.task_id ORDER BY b.number) AS needs`;
const TASK = `SELECT row_to_json(x) AS row FROM (
  SELECT ${taskColumns('true')} FROM @extschema@.agent_tasks t WHERE t.execution_id = $1 AND t.task_id = $2) x`;
const TASKS = `
  SELECT row FROM (
    SELECT row, row_number() OVER w AS nth, sum(octet_length(row::text)) OVER w AS bytes FROM (
      SELECT t.number, (SELECT row_to_json(x) FROM (SELECT ${taskColumns('$4')}) x) AS row
        FROM @extschema@.agent_tasks t WHERE t.execution_id = $1 AND t.number > $2 ORDER BY t.number LIMIT $3) listed
    WINDOW w AS (ORDER BY number)) page
   WHERE nth = 1 OR bytes <= ${PAGE_BYTES} ORDER BY nth`;

/** Rejects with `Refusal` if the execution, or the task, is unknown. */
export function readTask(database: Database, id: string, taskId: string) {
  return ofExecutions(database).transaction(async (sql) => {
    await statusIn(sql, id);
    const [found] = await sql.query(TASK, [id, taskId], z.object({ row: taskView }));
    if (found === undefined) throw new Refusal('unknown_task');
    return found.row;
  });
}

/** The tasks after the place `after` of the plan. An execution that the engine does not run has none. */
export function readTasks(database: Database, id: string, after: number, limit: number, values: boolean) {
  return ofExecutions(database).transaction(async (sql) => {
    const execution = await foundIn(sql, id);
    if (execution === undefined) {
      const [seen] = await sql.query(SEEN, [id], z.object({ position }));
      return { execution: null, tasks: [], next: null, ...(seen ?? (await refuseUnseen(sql, 'execution', id))) };
    }
    const rows = await sql.query(TASKS, [id, after, limit, values], z.object({ row: taskView }));
    const last = after + rows.length;
    const next = rows.length > 0 && last < execution.tasks.total ? last : null;
    return { execution, tasks: rows.map(({ row }) => row), next, position: execution.position };
  });
}

export const propagationView = z.object({
  propagation_id: z.guid(),
  item_ref: z.string(),
  item: z.unknown(),
  rules: z.unknown(),
  task_ids: z.array(z.guid()),
});

export function readPropagations(database: Database, id: string) {
  return ofExecutions(database).transaction(async (sql) => {
    await statusIn(sql, id);
    const text = `SELECT propagation_id, item_ref, item, rules, task_ids FROM @extschema@.task_propagation_logs
      WHERE execution_id = $1 ORDER BY created_at, propagation_id LIMIT 2000`;
    return sql.query(text, [id], propagationView);
  });
}

export const workerView = z.object({
  worker_id: z.string(),
  agent_types: z.array(z.string()),
  slots: z.int().nullable(),
  version: z.string().nullable(),
  alive: z.boolean(),
  seen_at: z.string(),
});

export function readWorkers(database: Database) {
  const text = `SELECT row_to_json(x) AS row FROM (SELECT worker_id, agent_types, slots, version, seen_at,
      rowcast.is_alive(seen_at) AS alive FROM @extschema@.agent_workers ORDER BY seen_at DESC LIMIT 1000) x`;
  return ofExecutions(database).transaction((sql) => sql.query(text, [], z.object({ row: workerView })));
}

export const typeView = z.object({
  agent_type: z.string(),
  enabled: z.boolean(),
  max_running: z.int().nullable(),
  max_attempts: z.int(),
  backoff: z.string(),
  lease_seconds: z.int(),
  timeout_seconds: z.int().nullable(),
  queue_timeout_seconds: z.int(),
});

export function readTypes(database: Database) {
  const columns = Object.keys(typeView.shape).join(', ');
  const text = `SELECT ${columns} FROM @extschema@.agent_types ORDER BY agent_type LIMIT 1000`;
  return ofExecutions(database).transaction((sql) => sql.query(text, [], typeView));
}

export const deadLetter = z.object({
  task_id: z.guid(),
  execution_id: z.guid(),
  name: z.string(),
  agent_type: z.string(),
  error: z.unknown(),
  ended_at: z.string(),
});

/** Failed tasks of executions that have ended, the latest first. A fork runs them again. */
export function readDeadLetters(database: Database, venture: string) {
  const text = `SELECT row_to_json(x) AS row FROM (
    SELECT t.task_id, t.execution_id, t.name, t.agent_type, t.error, t.ended_at
      FROM @extschema@.agent_tasks t JOIN @extschema@.strategy_executions s USING (execution_id)
     WHERE t.venture_id = $1 AND t.status = 'failed' AND s.ended_at IS NOT NULL ORDER BY t.ended_at DESC LIMIT 200) x`;
  return ofExecutions(database).transaction((sql) => sql.query(text, [venture], z.object({ row: deadLetter })));
}
