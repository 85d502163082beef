/**
 * All writes to executions, for input that was parsed. Each is one transaction that locks the row of the execution, so that
 * the state cannot change between the check and the write. The triggers of the tables write the events and the audit. With
 * an idempotency key a write takes effect once, however often it is requested. The HTTP API and `Executions` call it.
 */
import type { FinalStatus } from '@rowcast/client/progress';
import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import type { Database, Sql } from '../../ports/database.js';
import { ofExecutions } from '../schema.js';
import {
  asJson,
  changeExecution,
  insertLogs,
  lock,
  readExecution,
  readPosition,
  refuseFinished,
  type WrittenExecution,
  writtenExecution,
} from './execution-rows.js';
import { findVenture } from './existence.js';
import { type Answered, once } from './idempotency.js';
import { checked, type executionChange, type newExecution, newLogs, type newMetrics } from './inputs.js';
import { retrying } from './retrying.js';
import { metric, position } from './rows.js';

/** The seqs of the appended rows, first_seq to last_seq. They are consecutive. */
export const appended = z
  .object({ appended: z.int(), first_seq: z.int(), last_seq: z.int(), position })
  .meta({ id: 'Appended' });
export type Appended = z.output<typeof appended>;

export const recorded = z.object({ recorded: z.int(), metrics: z.array(metric), position }).meta({ id: 'Recorded' });
export type Recorded = z.output<typeof recorded>;

/** How a transaction is repeated that failed because of a concurrent one (serialization failure, deadlock). */
const CONTENTION = {
  retries: 3,
  base: 20,
  isTransient: (error: unknown) => /^40(001|P01)$/.test(codeOf(error)),
};

/**
 * Every method rejects with `Refusal` (invalid_request, forbidden, unknown_venture, unknown_execution, state_conflict,
 * idempotency_key_reused) or with `Unavailable`.
 */
export class ExecutionWrites {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = ofExecutions(database);
  }

  create(wanted: z.output<typeof newExecution>, key?: string): Promise<Answered<WrittenExecution>> {
    return this.#write(['create', wanted], key, writtenExecution, async (sql) => {
      await findVenture(sql, wanted.venture_id);
      const [created] = await sql.query(
        'INSERT INTO @extschema@.agent_executions (venture_id, status, metadata) VALUES ($1, $2, $3) RETURNING execution_id',
        [wanted.venture_id, wanted.initial_status, asJson(wanted.metadata)],
        writtenExecution.pick({ execution_id: true }),
      );
      const id = created?.execution_id ?? '';
      if (wanted.plan !== undefined) {
        const plan = { event_type: 'execution-planned', message: 'the plan', context: wanted.plan };
        await insertLogs(sql, id, { status: wanted.initial_status, stage_number: null }, checked(newLogs, [plan]));
      }
      return readExecution(sql, id);
    });
  }

  /** Changes status, stage or metadata. Equal values are not a change. A finished execution cannot be changed. */
  change(id: string, change: z.output<typeof executionChange>, key?: string): Promise<Answered<WrittenExecution>> {
    return this.#write(['change', id, change], key, writtenExecution, async (sql) => {
      await changeExecution(sql, id, change, await lock(sql, id));
      return readExecution(sql, id);
    });
  }

  /** Ends an execution. The error is a separate event before the last one. */
  async finish(id: string, to: FinalStatus, error?: string): Promise<WrittenExecution> {
    const logs =
      error === undefined ? [] : checked(newLogs, [{ event_type: 'error', log_level: 'error', message: error }]);
    const { value } = await this.#write([], undefined, writtenExecution, async (sql) => {
      const from = await lock(sql, id);
      if (logs.length > 0 && from.status !== to) {
        refuseFinished(id, from);
        await insertLogs(sql, id, from, logs);
      }
      await changeExecution(sql, id, { status: to }, from);
      return readExecution(sql, id);
    });
    return value;
  }

  /** Appends logs in order, all or none. */
  append(id: string, logs: z.output<typeof newLogs>, key?: string): Promise<Answered<Appended>> {
    return this.#write(['append', id, logs], key, appended, async (sql) => {
      const execution = await lock(sql, id);
      refuseFinished(id, execution);
      const seqs = await insertLogs(sql, id, execution, logs);
      const [first = 0] = seqs;
      return {
        appended: seqs.length,
        first_seq: first,
        last_seq: seqs.at(-1) ?? 0,
        position: await readPosition(sql, id),
      };
    });
  }

  /** Records metrics, all or none. Each is also an event of the channel. */
  record(id: string, metrics: z.output<typeof newMetrics>, key?: string): Promise<Answered<Recorded>> {
    return this.#write(['record', id, metrics], key, recorded, async (sql) => {
      refuseFinished(id, await lock(sql, id));
      const rows = await sql.query(
        `WITH added AS (
           INSERT INTO @extschema@.execution_metrics (execution_id, metric_name, metric_value)
           SELECT $1, m.metric_name, m.metric_value FROM ROWS FROM (json_to_recordset($2)
             AS (metric_name text, metric_value numeric)) WITH ORDINALITY AS m(metric_name, metric_value, n)
            ORDER BY m.n RETURNING metric_id, metric_name, metric_value, recorded_at)
         SELECT row_to_json(a) AS row FROM added a`,
        [id, asJson(metrics)],
        z.object({ row: metric }),
      );
      return { recorded: rows.length, metrics: rows.map(({ row }) => row), position: await readPosition(sql, id) };
    });
  }

  async #write<T>(
    request: readonly unknown[],
    key: string | undefined,
    answer: z.ZodType<T>,
    write: (sql: Sql) => Promise<T>,
  ): Promise<Answered<T>> {
    const transaction = () => this.#database.transaction((sql) => once(sql, key, request, answer, () => write(sql)));
    try {
      return await retrying(transaction, CONTENTION);
    } catch (error) {
      throw isDataFault(error) ? new Refusal('invalid_request', 'a value cannot be stored') : error;
    }
  }
}

/** Returns the SQLSTATE of an error, or an empty string. */
function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
}

/** Whether the input caused the error: JSON that is nested too deeply, a character that cannot be stored, a number out of range, or a failed CHECK. */
function isDataFault(error: unknown): boolean {
  return error instanceof RangeError || /^(22...|54...|23514)$/.test(codeOf(error));
}
