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
  /** How steps, and the service's own writes, are tried again. */
  readonly retry?: Partial<RetryPolicy>;
  readonly logger?: Logger;
}

/** What the work of an execution may use. */
export interface Run {
  readonly tracker: ProgressTracker;
  readonly signal: AbortSignal | undefined;
  /** `ProgressTracker.step`; one that fails transiently is done again. */
  step<T>(name: string, work: (step: RunningStep) => Promise<T> | T, options?: { agent?: string }): Promise<T>;
}

export interface RunOptions {
  /** Ends the run: no further step begins, and the execution is cancelled. */
  readonly signal?: AbortSignal;
}

/** How long the end of a run waits for what was not yet written, in milliseconds. */
const END = 5_000;

/** Runs executions: creates them, does their work step by step, and ends them. */
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

  tracker(id: string): ProgressTracker {
    return new ProgressTracker(this.#database, { ...this.#options, executionId: id, logger: this.#logger });
  }

  /** Creates an execution; once for each key, if one is given. Rejects as `Executions.create`, transient errors after retries. */
  async initializeExecution(input: NewExecution, idempotencyKey?: string): Promise<WrittenExecution> {
    // With a key in any case: a retry after a connection that broke in the commit must not create a second one.
    const key = idempotencyKey ?? crypto.randomUUID();
    const { value } = await retrying(() => this.#executions.create(input, key), this.#retry);
    return value;
  }

  /**
   * Starts the execution, or resumes it, does its work and ends it: completed with what `work` resolves to, failed where it
   * rejects, cancelled where the signal was aborted. Resolves and rejects as `work` does. Rejects before the work begins
   * where the execution cannot be started, as `Executions.change`.
   */
  async trackProgress<T>(id: string, work: (run: Run) => Promise<T> | T, { signal }: RunOptions = {}): Promise<T> {
    await retrying(() => this.#executions.change(id, { status: 'running' }), { ...this.#retry, signal });
    const tracker = this.tracker(id);
    const retry = this.#retry;
    const run: Run = {
      tracker,
      signal,
      async step(name, doing, options = {}) {
        signal?.throwIfAborted();
        return tracker.step(name, doing, { ...options, retry, signal });
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
      // Whatever cannot be written by then is written later, if this process goes on.
      await tracker.flush(END);
    }
  }

  /** Ends an execution that no run ends. The same end again is no error. Rejects as `Executions.finish`, after retries. */
  async finalizeExecution(id: string, to: FinalStatus, error?: unknown): Promise<WrittenExecution> {
    const message = error === undefined ? undefined : messageOf(error);
    return retrying(() => this.#executions.finish(id, to, message), this.#retry);
  }
}
