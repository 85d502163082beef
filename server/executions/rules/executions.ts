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
 * The writes to executions for code in this process. The input is checked, because TypeScript cannot guarantee its types.
 * Every method rejects with `Refusal` (invalid_request, forbidden, unknown_venture, unknown_execution, state_conflict,
 * idempotency_key_reused) or with `Unavailable`.
 */
export class Executions {
  readonly #writes: ExecutionWrites;

  constructor(database: Database) {
    this.#writes = new ExecutionWrites(database);
  }

  async create(input: NewExecution, idempotencyKey?: string): Promise<Answered<WrittenExecution>> {
    return this.#writes.create(checked(newExecution, input), checked(key, idempotencyKey));
  }

  /** Changes status, stage or metadata. Equal values are not a change. A finished execution cannot be changed. */
  async change(id: string, input: ExecutionChange, idempotencyKey?: string): Promise<Answered<WrittenExecution>> {
    return this.#writes.change(checked(executionId, id), checked(executionChange, input), checked(key, idempotencyKey));
  }

  /** Ends an execution. The error is a separate event before the last one. */
  async finish(id: string, to: FinalStatus, error?: string): Promise<WrittenExecution> {
    return this.#writes.finish(checked(executionId, id), checked(finalStatus, to), error);
  }

  /** Appends logs in order, all or none. */
  async append(id: string, input: readonly NewLog[], idempotencyKey?: string): Promise<Answered<Appended>> {
    return this.#writes.append(checked(executionId, id), checked(newLogs, input), checked(key, idempotencyKey));
  }

  /** Records metrics, all or none. Each is also an event of the channel. */
  async record(id: string, input: readonly NewMetric[], idempotencyKey?: string): Promise<Answered<Recorded>> {
    return this.#writes.record(checked(executionId, id), checked(newMetrics, input), checked(key, idempotencyKey));
  }
}
