/**
 * Records what an execution does while it runs: logs, metrics, stages and steps. Each call writes one transaction of its
 * own, in the order of the calls, so that everything written survives a crash of the process. Writes never make the work
 * fail, and delay it by at most `patience`: later ones are made in the background. Public in `rowcast/server`.
 */
import type { FinalStatus } from '@rowcast/client/progress';
import { z } from 'zod';
import { type Logger, makeLogger } from '../../ground/logger.js';
import type { Database } from '../../ports/database.js';
import type { WrittenExecution } from '../rules/execution-rows.js';
import { Executions } from '../rules/executions.js';
import { NAME, type NewExecution, type NewLog, newLogs, newMetrics, requestsOf } from '../rules/inputs.js';
import { type Retry, type RetryPolicy, retrying } from '../rules/retrying.js';
import { ofExecutions } from '../schema.js';
import { contextOf, jsonOf, messageOf } from './json.js';
import { type Unwritten, WriteQueue } from './write-queue.js';

/** Defaults: the number of pending writes, and how long a call waits for its write and `flush` for all, in milliseconds. */
const MAX_WAITING = 1_000;
const MAX_WAIT = 250;
const FLUSH = 5_000;
/** Maximum number of events returned by `getExecutionHistory`. */
const HISTORY = 1_000;

export interface TrackerOptions {
  /** Continues an existing execution. */
  readonly executionId?: string;
  /** Maximum number of pending writes. Beyond it the oldest is dropped. */
  readonly maxWaiting?: number;
  /** How long a call waits for its write, in milliseconds. While the database stays unreachable, later calls do not wait. */
  readonly patience?: number;
  readonly logger?: Logger;
}

/** Passed to the work of a step. */
export interface RunningStep {
  /** The number of the attempt, from 1. */
  readonly attempt: number;
  readonly signal: AbortSignal | undefined;
  /** Reports the progress of the step, from 0 to 100, and what it is doing. */
  progress(percent?: number, message?: string): Promise<void>;
}

export interface StepOptions {
  /** The name of the agent that runs the step. */
  readonly agent?: string;
  /** Default: no retries. */
  readonly retry?: Partial<RetryPolicy>;
  readonly signal?: AbortSignal | undefined;
}

/** An event of an execution, with the row that subscribers get. */
export interface PastEvent {
  readonly seq: number;
  readonly row: Readonly<Record<string, unknown>>;
}

export class ProgressTracker {
  readonly #database: Database;
  readonly #executions: Executions;
  readonly #writes: WriteQueue;
  #execution: string | undefined;

  constructor(database: Database, options: TrackerOptions = {}) {
    const { executionId, maxWaiting = MAX_WAITING, patience = MAX_WAIT, logger = makeLogger('warn') } = options;
    this.#database = ofExecutions(database);
    this.#executions = new Executions(database);
    this.#writes = new WriteQueue({ maxWaiting, maxWait: patience, logger });
    this.#execution = executionId;
  }

  /** The id of the execution. Throws if there is none yet. */
  get executionId(): string {
    if (this.#execution === undefined)
      throw new Error('no execution yet: call recordExecution, or set the option executionId');
    return this.#execution;
  }

  /** Creates the execution that this tracker writes to, by default as running. Rejects as `Executions.create`. */
  async recordExecution(input: NewExecution): Promise<WrittenExecution> {
    if (this.#execution !== undefined) throw new Error(`this tracker already writes to execution ${this.#execution}`);
    const { value } = await this.#executions.create({ ...input, initial_status: input.initial_status ?? 'running' });
    this.#execution = value.execution_id;
    return value;
  }

  addLog(log: NewLog): Promise<void> {
    return this.addLogs([log]);
  }

  /** Appends logs in order; up to 1,000 of them get consecutive seqs. Long messages and contexts are cut. */
  async addLogs(logs: readonly NewLog[]): Promise<void> {
    const id = this.executionId;
    const kept = logs.map(({ message, context, ...log }) => ({
      log_id: crypto.randomUUID(), // makes a retry safe if the connection broke during the commit
      ...log,
      message: typeof message === 'string' ? messageOf(message) : null,
      context: context === undefined ? null : contextOf(context),
    }));
    const append = (some: NewLog[]) => this.#writes.add(() => this.#executions.append(id, some));
    await Promise.all(requestsOf(newLogs, kept).map(append));
  }

  /** Records a new value for each name, such as `{tokens: 731}`. */
  async updateMetrics(metrics: Readonly<Record<string, number>>): Promise<void> {
    const id = this.executionId;
    const rows = Object.entries(metrics).map(([metric_name, metric_value]) => ({ metric_name, metric_value }));
    const record = (some: typeof rows) => {
      const key = crypto.randomUUID(); // the same for all attempts
      return this.#writes.add(() => this.#executions.record(id, some, key));
    };
    await Promise.all(requestsOf(newMetrics, rows).map(record));
  }

  /** Enters a stage. Logs without a stage number that are written after this belong to it. */
  enterStage(stage_number: number): Promise<void> {
    const id = this.executionId;
    return this.#writes.add(() => this.#executions.change(id, { stage_number }));
  }

  /**
   * Runs one step of the work, and records its start, its result or error, and its duration. Resolves and rejects as `work`
   * does, even if those writes fail.
   */
  async step<T>(name: string, work: (step: RunningStep) => Promise<T> | T, options: StepOptions = {}): Promise<T> {
    const { agent = null, retry = { retries: 0 }, signal } = options;
    const step = {
      step_id: crypto.randomUUID(),
      step: messageOf(name, NAME), // if the context were too long it would be cut, and lose its step_id
      agent: agent === null ? null : messageOf(agent, NAME),
    };
    const started_at = new Date().toISOString();
    const begun = performance.now();
    await this.#event('task-assigned', name, { ...step, started_at });
    const ended = () => ({ ended_at: new Date().toISOString(), duration_ms: Math.round(performance.now() - begun) });
    const onRetry = ({ attempt, error, delay }: Retry) => {
      const context = { ...step, attempt, error: messageOf(error), delay_ms: Math.round(delay) };
      void this.#event('task-progress', `attempt ${attempt} failed: ${messageOf(error)}`, context, 'warning');
    };
    const progress = (percent?: number, message?: string) =>
      this.#event('task-progress', message ?? name, { step_id: step.step_id, percent });
    let output: T;
    try {
      output = await retrying((attempt) => work({ attempt, signal, progress }), { ...retry, signal, onRetry });
    } catch (error) {
      const context = { ...step, success: false, error: messageOf(error), started_at, ...ended() };
      await this.#event('task-failed', name, context, 'error');
      throw error;
    }
    await this.#event('task-completed', name, {
      ...step,
      success: true,
      output: jsonOf(output),
      started_at,
      ...ended(),
    });
    return output;
  }

  /** Ends the execution, after all pending writes. */
  finish(to: FinalStatus, error?: unknown): Promise<void> {
    const id = this.executionId;
    const message = error === undefined ? undefined : messageOf(error);
    return this.#writes.add(() => this.#executions.finish(id, to, message));
  }

  /** Waits up to `timeout` milliseconds for all pending writes, and returns how many are not written. */
  flush(timeout = FLUSH): Promise<Unwritten> {
    return this.#writes.flush(timeout);
  }

  /** Returns the events after the seq `after` in order, at most 1,000. Rejects with `Unavailable` or `Refusal`. */
  getExecutionHistory({ after = 0, limit = HISTORY } = {}): Promise<PastEvent[]> {
    const id = this.executionId;
    return this.#database.transaction((sql) =>
      sql.query(
        `SELECT l.seq, to_jsonb(l) - 'seq' - 'tx' AS row FROM @extschema@.agent_execution_logs l
          WHERE l.execution_id = $1 AND l.seq > $2 ORDER BY l.seq LIMIT $3`,
        [id, after, Math.min(limit, HISTORY)],
        z.object({ seq: z.coerce.number(), row: z.record(z.string(), z.unknown()) }),
      ),
    );
  }

  #event(type: string, message: string, context: object, level: 'info' | 'warning' | 'error' = 'info'): Promise<void> {
    return this.addLog({ event_type: type, log_level: level, message, context });
  }
}
