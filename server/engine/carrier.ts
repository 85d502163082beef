/**
 * The seam between the state of tasks, which is in SQL, and what tells workers that a task is ready. A carrier holds no
 * state: it may bring a task twice, late, in any order, or never. `begin_task` decides, and what has not begun is sent again.
 */
import type { ClaimedTask } from './leases.js';

/** A gateway of this process, or the context of an extension. */
export interface Bell {
  /** Calls `listener` when rows of a stream have arrived. Returns a function that ends that. */
  onRows(stream: string, listener: () => void): () => void;
}

/** A task that may begin. */
export interface ReadyTask {
  readonly taskId: string;
  readonly attempt: number;
  readonly agentType: string;
  /** From -100 to 100; the highest comes first. */
  readonly priority: number;
}

/** What a worker offers to its carrier. */
export interface Workplace {
  /** The name of the worker, which is unique. */
  readonly name: string;
  /** How many tasks of each agent type may run here at the same time. */
  readonly slots: ReadonlyMap<string, number>;
  /** Begins the attempt, if it has not begun, and runs it. Resolves when it has ended. Does not reject. */
  carry(taskId: string, attempt: number): Promise<void>;
  /** Runs a task that was claimed. Resolves to the next one, if it was handed over with the report. Does not reject. */
  run(task: ClaimedTask): Promise<ClaimedTask | null>;
}

/** A worker that is connected to its carrier. */
export interface Consumer {
  /** Takes nothing more, and resolves when all that it has brought has ended. */
  stop(): Promise<void>;
}

export interface Carrier {
  /** Workers get what was sent to the carrier of the same name. */
  readonly name: string;
  /** Called after the commit that made the tasks ready. If it rejects, they are sent again later. */
  send(tasks: readonly ReadyTask[]): Promise<void>;
  /** Brings tasks to a worker, no more of a type at once than it has slots. Rejects if it cannot connect. */
  consume(workplace: Workplace): Promise<Consumer>;
  /** Closes what `send` has opened. */
  close(): Promise<void>;
}
