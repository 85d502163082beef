import type { FinalStatus } from '@rowcast/client/progress';
import type { Database } from '../../ports/database.js';
import type { WrittenExecution } from './execution-rows.js';
import { type Appended, ExecutionWrites, type Recorded } from './execution-writes.js';
import type { Answered } from './idempotency.js';
import {
  checked,
  type ExecutionChange,
  executionChange,
  executionId,
  finalStatus,
  idempotencyKey,
  type NewExecution,
  type NewLog,
  type NewMetric,
  newExecution,
  newLogs,
  newMetrics,
} from './inputs.js';

const key = idempotencyKey.optional();

/**
 * The writes to executions for callers in this process, whose types may be wrong all the same. Every method rejects as
 * those of `ExecutionWrites` do.
 */
export class Executions {
  readonly #writes: ExecutionWrites;

  constructor(database: Database) {
    this.#writes = new ExecutionWrites(database);
  }

  async create(input: NewExecution, idempotencyKey?: string): Promise<Answered<WrittenExecution>> {
    return this.#writes.create(checked(newExecution, input), checked(key, idempotencyKey));
  }

  /** The same status, stage or metadata again is no change. A finished execution does not change any more. */
  async change(id: string, input: ExecutionChange, idempotencyKey?: string): Promise<Answered<WrittenExecution>> {
    return this.#writes.change(checked(executionId, id), checked(executionChange, input), checked(key, idempotencyKey));
  }

  /** Ends an execution. What went wrong is an event of its own, just before the last one. */
  async finish(id: string, to: FinalStatus, error?: string): Promise<WrittenExecution> {
    return this.#writes.finish(checked(executionId, id), checked(finalStatus, to), error);
  }

  /** Appends all of the logs, in their order, or none. */
  async append(id: string, input: readonly NewLog[], idempotencyKey?: string): Promise<Answered<Appended>> {
    return this.#writes.append(checked(executionId, id), checked(newLogs, input), checked(key, idempotencyKey));
  }

  /** Records all of the metrics, or none. Each is an event of the channel as well. */
  async record(id: string, input: readonly NewMetric[], idempotencyKey?: string): Promise<Answered<Recorded>> {
    return this.#writes.record(checked(executionId, id), checked(newMetrics, input), checked(key, idempotencyKey));
  }
}
