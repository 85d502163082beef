/**
 * One attempt at a task: calls the agent, sends heartbeats while it runs, and reports how it ended. It owns the timer of the
 * heartbeats and the signal that aborts the agent; both end with it.
 */
import { isTransient, retrying } from '../executions/rules/retrying.js';
import { messageOf } from '../executions/service/json.js';
import type { Logger } from '../ground/logger.js';
import { rowsOf } from './engine.js';
import type { Answer, ClaimedTask, Leases, Report, TaskError } from './leases.js';
import { type TaskInput, task } from './plan.js';

/** How an agent ends its attempt otherwise than by a result or an error. */
class Waits {
  readonly signal: string | null;
  readonly until: Date | null;

  constructor(signal: string | null, until: Date | null) {
    this.signal = signal;
    this.until = until;
  }
}

/** An error whose class decides whether the task is tried again: see `retry_on` of its agent type. */
export class AgentError extends Error {
  override readonly name = 'AgentError';
  readonly class: string;
  readonly code: string | undefined;
  /** Milliseconds until the next attempt. */
  readonly retryAfter: number | undefined;

  constructor(
    kind: string,
    message: string,
    { code, retryAfter, cause }: { code?: string; retryAfter?: number; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.class = kind;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** What an agent is given. */
export interface AgentTask<Input = Record<string, unknown>> extends Omit<ClaimedTask, 'input' | 'lease'> {
  readonly input: Input;
  /** Aborted when the task was cancelled or its lease is lost: nothing that the agent does after that is recorded. */
  readonly signal: AbortSignal;
  /** Says how far it is: an event, at most one a second. */
  progress(percent: number, message?: string): void;
  /** Saves a checkpoint, which the next attempt gets. Resolves when it is stored. */
  save(checkpoint: unknown): Promise<void>;
  /** What the attempt has used so far, such as `{ tokens: 731, cost: 0.02 }`. `cost` counts against the budget. */
  use(usage: Readonly<Record<string, unknown>>): void;
  /** Adds tasks to the execution. */
  addTasks(tasks: readonly TaskInput[]): Promise<number>;
  /**
   * Gives the slot back until a signal is sent, or until a time. Never resolves: the agent is called again, with the payload
   * in `input.signals`. `return task.waitFor(…)`.
   */
  waitFor(signal: string | null, options?: { until?: Date }): Promise<never>;
}

export type AgentFunction = (task: AgentTask) => Promise<unknown> | unknown;

export interface AttemptOptions {
  readonly leases: Leases;
  readonly logger: Logger;
  readonly run: AgentFunction;
  /** Reports that the task is done. Resolves to the next one, if that was handed over. */
  readonly complete: (task: ClaimedTask, output: unknown, usage: Report['usage']) => Promise<ClaimedTask | null>;
}

/** The part of a lease after which the next heartbeat is sent. */
const BEAT = 1 / 3;

export class Attempt {
  readonly task: ClaimedTask;
  readonly #options: AttemptOptions;
  readonly #abort = new AbortController();
  #said: Report = {};
  #usage: Report['usage'];
  #beating: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(task: ClaimedTask, options: AttemptOptions) {
    this.task = task;
    this.#options = options;
  }

  /** Runs to the end. Resolves to the task that was handed over with the report, if there is one. Does not reject. */
  async run(): Promise<ClaimedTask | null> {
    const { logger } = this.#options;
    this.#beatLater();
    try {
      const outcome = await this.#call();
      clearInterval(this.#timer);
      await this.#beating;
      return this.#abort.signal.aborted ? null : await this.#report(outcome);
    } catch (error) {
      logger.warn({ err: error, task: this.task.task_id }, 'the end of a task could not be reported');
      // What cannot be stored will not be the next time either. Otherwise the lease runs out, and it is tried again.
      if (!isTransient(error)) await this.#options.leases.fail(this.task, errorOf(error)).catch(() => {});
      return null;
    } finally {
      clearInterval(this.#timer);
    }
  }

  /** The lease is over: aborts the agent. */
  lost(why: Exclude<Answer, 'continue'> | 'stopped'): void {
    clearInterval(this.#timer);
    this.#abort.abort(new AgentError(why, why === 'cancelled' ? 'the task was cancelled' : 'the lease is lost'));
  }

  /** Gives the task back, and aborts the agent. */
  async release(): Promise<void> {
    await this.#sayRest().catch(() => {});
    this.lost('stopped');
    await this.#reporting(() => this.#options.leases.release(this.task)).catch(() => {});
  }

  async #call(): Promise<{ output: unknown } | { error: unknown }> {
    const { lease: _, ...given } = this.task;
    const { signal } = this.#abort;
    const agent: AgentTask = {
      ...given,
      signal,
      progress: (percent, message) => {
        this.#said = { ...this.#said, percent, message };
        void this.#beat();
      },
      save: async (checkpoint) => {
        this.#said = { ...this.#said, checkpoint };
        await this.#beat();
        signal.throwIfAborted();
      },
      use: (usage) => {
        this.#usage = usage;
        this.#said = { ...this.#said, usage };
      },
      addTasks: (tasks) =>
        this.#options.leases.addTasks(
          this.task.execution_id,
          this.task.lease,
          rowsOf(tasks.map((one) => task.parse(one))),
        ),
      waitFor: async (name, { until } = {}) => {
        throw new Waits(name, until ?? null);
      },
    };
    try {
      return { output: await this.#options.run(agent) };
    } catch (error) {
      return { error };
    }
  }

  async #report(outcome: { output: unknown } | { error: unknown }): Promise<ClaimedTask | null> {
    const { leases, complete } = this.#options;
    if ('output' in outcome) return this.#reporting(() => complete(this.task, outcome.output, this.#usage));
    const { error } = outcome;
    await this.#reporting<unknown>(async () => {
      if (!(error instanceof Waits)) return leases.fail(this.task, errorOf(error), this.#usage);
      await this.#sayRest();
      return leases.wait(this.task, error.signal, error.until);
    });
    return null;
  }

  /** A report is repeated while the lease holds: the same report again is answered as the first time. */
  #reporting<T>(report: () => Promise<T>): Promise<T> {
    return retrying(report, { retries: 10, base: 100, cap: this.task.lease_ms * BEAT });
  }

  #beatLater(): void {
    this.#timer = setInterval(() => void this.#beat(), this.task.lease_ms * BEAT);
  }

  /** What the agent has used and no heartbeat has carried: the reports that give a task back carry nothing. */
  async #sayRest(): Promise<void> {
    if (this.#said.usage !== undefined) await this.#beat();
  }

  /** One at a time, each with what was said since the last one that arrived. */
  #beat(): Promise<unknown> {
    const next = this.#beating.then(async () => {
      const said = this.#said;
      this.#said = {};
      if (this.#abort.signal.aborted) return;
      const answer = await this.#options.leases.heartbeat(this.task, said).catch((error: unknown) => {
        this.#said = { ...said, ...this.#said };
        throw error;
      });
      if (answer !== 'continue') this.lost(answer);
    });
    // A heartbeat that fails is followed by the next; the lease decides.
    this.#beating = next.catch(() => {});
    return next;
  }
}

function errorOf(error: unknown): TaskError {
  if (error instanceof AgentError) {
    return { class: error.class, code: error.code, message: error.message, retry_after_ms: error.retryAfter };
  }
  const { code } = (error ?? {}) as { code?: unknown };
  return {
    class: isTransient(error) ? 'transient' : 'permanent',
    message: messageOf(error),
    ...(typeof code === 'string' && { code }),
  };
}
