/**
 * Reads and writes the rows of one execution within a transaction, by the rules of state: which status may follow which,
 * and that nothing follows a final one. The methods of `ExecutionWrites` are composed of these functions.
 */
import { type ExecutionStatus, following, isFinished, mayFollow } from '@rowcast/client/progress';
import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import type { Sql } from '../../ports/database.js';
import { refuseUnseen } from './existence.js';
import type { executionChange, newLogs } from './inputs.js';
import { POSITION } from './position.js';
import { execution, position, status } from './rows.js';

/** The record, and the position of the channel `execution:<id>`. */
export const writtenExecution = execution.extend({ position }).meta({ id: 'WrittenExecution' });
export type WrittenExecution = z.output<typeof writtenExecution>;

/** The columns that the rules of state depend on, in a row that is locked until the transaction ends. */
const locked = z.object({ status, stage_number: z.int().nullable() });
export type Locked = z.output<typeof locked>;

/**
 * Locks the row of an execution. Appends use the same exclusive lock: they queue on the numbering of the channel anyway, and
 * with shared locks a continuous stream of appends could block a change for ever. Rejects with `Refusal`
 * (unknown_execution, forbidden).
 */
export async function lock(sql: Sql, id: string): Promise<Locked> {
  const text =
    'SELECT status, stage_number FROM @extschema@.agent_executions WHERE execution_id = $1 FOR NO KEY UPDATE';
  const [row] = await sql.query(text, [id], locked);
  if (row !== undefined) return row;
  return refuseUnseen(sql, 'execution', id); // a principal that may only read the row cannot lock it
}

/** Rejects with `Refusal` (unknown_execution). */
export async function readExecution(sql: Sql, id: string): Promise<WrittenExecution> {
  const [found] = await sql.query(
    `SELECT row_to_json(x) AS row FROM (SELECT e.execution_id, e.venture_id, e.status, e.stage_number, e.metadata,
       e.created_at, e.updated_at, ${POSITION} AS position FROM @extschema@.agent_executions e WHERE e.execution_id = $1) x`,
    [id],
    z.object({ row: writtenExecution }),
  );
  if (found === undefined) throw new Refusal('unknown_execution');
  return found.row;
}

/** Returns the position of the channel after the rows that this transaction has written. */
export async function readPosition(sql: Sql, id: string): Promise<string> {
  const text = `SELECT ${POSITION} AS position FROM @extschema@.agent_executions e WHERE e.execution_id = $1`;
  const [found] = await sql.query(text, [id], z.object({ position }));
  return found?.position ?? '';
}

/** Throws `Refusal` (state_conflict) if the execution has a final status. */
export function refuseFinished(id: string, { status }: Locked): void {
  if (isFinished(status)) throw new Refusal('state_conflict', `execution ${id} is ${status}, which is final`);
}

/** Throws `Refusal` (state_conflict) if `to` may not follow `from`. The message lists what may. */
function refuseJump(id: string, from: ExecutionStatus, to: ExecutionStatus): void {
  if (mayFollow(from, to)) return;
  const next = following[from].join(', ') || 'nothing';
  throw new Refusal('state_conflict', `execution ${id} is ${from}; ${to} may not follow. Allowed: ${next}`);
}

/** Updates the record. Equal values are not written, so that they cause no event. Throws `Refusal` (state_conflict). */
export async function changeExecution(
  sql: Sql,
  id: string,
  change: z.output<typeof executionChange>,
  from: Locked,
): Promise<void> {
  const { status: to = from.status, stage_number: stage = from.stage_number, metadata } = change;
  refuseJump(id, from.status, to);
  const changed = await sql.query(
    `UPDATE @extschema@.agent_executions e SET status = $2, stage_number = $3, metadata = CASE WHEN $4 THEN $5 ELSE e.metadata END
      WHERE e.execution_id = $1 AND (e.status, e.stage_number, e.metadata)
        IS DISTINCT FROM ($2, $3, CASE WHEN $4 THEN $5 ELSE e.metadata END) RETURNING true AS changed`,
    [id, to, stage, metadata !== undefined, asJson(metadata)],
    z.object({ changed: z.boolean() }),
  );
  if (changed.length > 0) refuseFinished(id, from);
}

/**
 * Inserts logs in order and returns their seqs. A log whose id exists already is skipped, so that a client that does not
 * know whether its transaction was committed can send it again.
 */
export async function insertLogs(
  sql: Sql,
  id: string,
  { stage_number }: Locked,
  logs: z.output<typeof newLogs>,
): Promise<number[]> {
  const rows = await sql.query(
    `INSERT INTO @extschema@.agent_execution_logs (log_id, execution_id, event_type, log_level, stage_number, message, context)
     SELECT coalesce(l.log_id, gen_random_uuid()), $1, l.event_type, l.log_level, l.stage_number, l.message, l.context
       FROM ROWS FROM (json_to_recordset($2) AS (log_id uuid, event_type text, log_level rowcast.log_level, stage_number int,
         message text, context jsonb)) WITH ORDINALITY AS l(log_id, event_type, log_level, stage_number, message, context, n)
      ORDER BY l.n ON CONFLICT (log_id) DO NOTHING RETURNING seq`,
    [
      id,
      asJson(
        logs.map((log) => ({ ...log, stage_number: log.stage_number === undefined ? stage_number : log.stage_number })),
      ),
    ],
    z.object({ seq: z.coerce.number() }),
  );
  return rows.map(({ seq }) => seq);
}

/** Returns JSON text for a parameter. Null and undefined become SQL NULL instead of the JSON value `null`. */
export function asJson(value: unknown): string | null {
  return value === undefined || value === null ? null : JSON.stringify(value);
}
