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

/** Defaults: writes that may wait, how long a step waits for one and a flush for all, in milliseconds. */
const MAX_WAITING = 1_000;
const PATIENCE = 250;
const FLUSH = 5_000;
/** Events of one page of the history. */
const HISTORY = 1_000;

export interface TrackerOptions {
  /** To go on with an execution that is there already. */
  readonly executionId?: string;
  /** Writes that may wait for the database; with more, the one that has waited longest is dropped. */
  readonly maxWaiting?: number;
  /** The longest that a write may hold up the work, once for each time the database goes away, in milliseconds. */
  readonly patience?: number;
  readonly logger?: Logger;
}

/** What a running step may use. */
export interface RunningStep {
  /** From 1; above that it is a retry. */
  readonly attempt: number;
  readonly signal: AbortSignal | undefined;
  /** How far the step is, 0 to 100, and what it is doing. */
  progress(percent?: number, message?: string): Promise<void>;
}

export interface StepOptions {
  /** Who does it. */
  readonly agent?: string;
  /** Left out: a step that fails is not done again. */
  readonly retry?: Partial<RetryPolicy>;
  readonly signal?: AbortSignal | undefined;
}

/** An event of an execution, as a subscriber gets it. */
export interface PastEvent {
  readonly seq: number;
  readonly row: Readonly<Record<string, unknown>>;
}

/**
 * Writes what an execution does, as it happens: each event in a transaction of its own, so that what was written stays
 * whatever becomes of this process, and in the order of the calls. The work never fails because of a write that failed,
 * and does not wait for it longer than `patience`: writes that are late are made in the background.
 */
export class ProgressTracker {
  readonly #database: Database;
  readonly #executions: Executions;
  readonly #writes: WriteQueue;
  #execution: string | undefined;

  constructor(database: Database, options: TrackerOptions = {}) {
    const { executionId, maxWaiting = MAX_WAITING, patience = PATIENCE, logger = makeLogger('warn') } = options;
    this.#database = ofExecutions(database);
    this.#executions = new Executions(database);
    this.#writes = new WriteQueue({ maxWaiting, patience, logger });
    this.#execution = executionId;
  }

  /** The execution that is written to. Throws where there is none yet. */
  get executionId(): string {
    if (this.#execution === undefined) throw new Error('no execution yet: call recordExecution, or give executionId');
    return this.#execution;
  }

  /** Creates the execution that everything else is written to; it is running. Rejects as `Executions.create`. */
  async recordExecution(input: NewExecution): Promise<WrittenExecution> {
    if (this.#execution !== undefined) throw new Error(`this tracker writes to execution ${this.#execution} already`);
    const { value } = await this.#executions.create({ ...input, initial_status: input.initial_status ?? 'running' });
    this.#execution = value.execution_id;
    return value;
  }

  addLog(log: NewLog): Promise<void> {
    return this.addLogs([log]);
  }

  /** In their order, and up to 1,000 of them without another event in between. Long messages and contexts are cut. */
  async addLogs(logs: readonly NewLog[]): Promise<void> {
    const id = this.executionId;
    const kept = logs.map(({ message, context, ...log }) => ({
      log_id: crypto.randomUUID(), // after a connection that broke in the commit, the same logs may come twice
      ...log,
      message: typeof message === 'string' ? messageOf(message) : null,
      context: context === undefined ? null : contextOf(context),
    }));
    const append = (some: NewLog[]) => this.#writes.add(() => this.#executions.append(id, some));
    await Promise.all(requestsOf(newLogs, kept).map(append));
  }

  /** `{tokens: 731}`: a new value for each name. */
  async updateMetrics(metrics: Readonly<Record<string, number>>): Promise<void> {
    const id = this.executionId;
    const rows = Object.entries(metrics).map(([metric_name, metric_value]) => ({ metric_name, metric_value }));
    const record = (some: typeof rows) => {
      const key = crypto.randomUUID(); // the same for each attempt
      return this.#writes.add(() => this.#executions.record(id, some, key));
    };
    await Promise.all(requestsOf(newMetrics, rows).map(record));
  }

  /** The execution enters a stage; what is written after that belongs to it. */
  enterStage(stage_number: number): Promise<void> {
    const id = this.executionId;
    return this.#writes.add(() => this.#executions.change(id, { stage_number }));
  }

  /**
   * Does one step of the work: says that it begins, does it, and says how it went and how long it took. Resolves and
   * rejects as `work` does, whatever becomes of what was to be written about it.
   */
  async step<T>(name: string, work: (step: RunningStep) => Promise<T> | T, options: StepOptions = {}): Promise<T> {
    const { agent = null, retry = { retries: 0 }, signal } = options;
    const step = {
      step_id: crypto.randomUUID(),
      step: messageOf(name, NAME), // a context that is too long would lose the step_id
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

  /** Ends the execution, after all that waits. */
  finish(to: FinalStatus, error?: unknown): Promise<void> {
    const id = this.executionId;
    const message = error === undefined ? undefined : messageOf(error);
    return this.#writes.add(() => this.#executions.finish(id, to, message));
  }

  /** Waits until everything is written, at most `timeout` milliseconds, and says what is not. */
  flush(timeout = FLUSH): Promise<Unwritten> {
    return this.#writes.flush(timeout);
  }

  /** The events after `after`, at most 1,000 of them, in their order. Rejects with `Unavailable` or `Refusal`. */
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
