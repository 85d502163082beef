import type { FinalStatus } from '@rowcast/client/progress';
import { type Logger, makeLogger } from '../../ground/logger.js';
import type { Database } from '../../ports/database.js';
import type { WrittenExecution } from '../rules/execution-rows.js';
import { Executions } from '../rules/executions.js';
import type { NewExecution } from '../rules/inputs.js';
import { POLICY, type RetryPolicy, retrying } from '../rules/retrying.js';
import { messageOf } from './json.js';
import { ProgressTracker, type RunningStep, type TrackerOptions } from './progress-tracker.js';

export interface ServiceOptions extends Pick<TrackerOptions, 'maxWaiting' | 'patience'> {
  /** How steps and the writes of the service are retried. */
  readonly retry?: Partial<RetryPolicy>;
  readonly logger?: Logger;
}

/** Passed to the work of an execution. */
export interface Run {
  readonly tracker: ProgressTracker;
  readonly signal: AbortSignal | undefined;
  /** `ProgressTracker.step` with retries: a step that fails transiently is repeated. */
  step<T>(name: string, work: (step: RunningStep) => Promise<T> | T, options?: { agent?: string }): Promise<T>;
}

export interface RunOptions {
  /** Aborts the run: no further step begins, and the execution is cancelled. */
  readonly signal?: AbortSignal;
}

/** How long the end of a run waits for pending writes, in milliseconds. */
const END = 5_000;

/** Runs executions: creates them, runs their work step by step, and ends them. */
export class AgentExecutionService {
  readonly #database: Database;
  readonly #executions: Executions;
  readonly #options: ServiceOptions;
  readonly #retry: RetryPolicy;
  readonly #logger: Logger;

  constructor(database: Database, options: ServiceOptions = {}) {
    this.#database = database;
    this.#executions = new Executions(database);
    this.#options = options;
    this.#retry = { ...POLICY, ...options.retry };
    this.#logger = options.logger ?? makeLogger('warn');
  }

  /** Returns a tracker for an existing execution. */
  tracker(id: string): ProgressTracker {
    return new ProgressTracker(this.#database, { ...this.#options, executionId: id, logger: this.#logger });
  }

  /** Creates an execution, at most once per key. Rejects as `Executions.create`; transient errors are retried first. */
  async initializeExecution(input: NewExecution, idempotencyKey?: string): Promise<WrittenExecution> {
    // Always with a key: if the connection broke during the commit, a retry must not create a second execution.
    const key = idempotencyKey ?? crypto.randomUUID();
    const { value } = await retrying(() => this.#executions.create(input, key), this.#retry);
    return value;
  }

  /**
   * Starts or resumes the execution, runs its work and ends it: as completed if `work` resolves, failed if it rejects, and
   * cancelled if the signal was aborted. Resolves and rejects as `work` does. If the execution cannot be started it rejects
   * as `Executions.change`, and the work does not begin.
   */
  async trackProgress<T>(id: string, work: (run: Run) => Promise<T> | T, { signal }: RunOptions = {}): Promise<T> {
    await retrying(() => this.#executions.change(id, { status: 'running' }), { ...this.#retry, signal });
    const tracker = this.tracker(id);
    const retry = this.#retry;
    const run: Run = {
      tracker,
      signal,
      async step(name, stepWork, options = {}) {
        signal?.throwIfAborted();
        return tracker.step(name, stepWork, { ...options, retry, signal });
      },
    };
    try {
      const result = await work(run);
      void tracker.finish('completed');
      return result;
    } catch (error) {
      void (signal?.aborted ? tracker.finish('cancelled') : tracker.finish('failed', error));
      throw error;
    } finally {
      // Writes that are still pending after this are made in the background, if the process keeps running.
      await tracker.flush(END);
    }
  }

  /** Ends an execution outside `trackProgress`. Repeating it with the same status is no error. Rejects as `Executions.finish`, after retries. */
  async finalizeExecution(id: string, to: FinalStatus, error?: unknown): Promise<WrittenExecution> {
    const message = error === undefined ? undefined : messageOf(error);
    return retrying(() => this.#executions.finish(id, to, message), this.#retry);
  }
}
