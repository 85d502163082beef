/** What workers ask of the database, in any process: claims and reports. Each call is one transaction. */
import { z } from 'zod';
import type { Database } from '../ports/database.js';
import { Calls, json, nothing } from './calls.js';

export const claimedTask = z
  .object({
    task_id: z.guid(),
    execution_id: z.guid(),
    venture_id: z.guid(),
    name: z.string(),
    agent_type: z.string(),
    attempt: z.int(),
    input: z.record(z.string(), z.unknown()),
    results: z
      .record(z.string(), z.unknown())
      .meta({ description: 'The outputs of the tasks that it needs, by name.' }),
    checkpoint: z.unknown().meta({ description: 'What an earlier attempt has saved; otherwise null.' }),
    lease: z.guid().meta({ description: 'The right to report, for this attempt only.' }),
    lease_ms: z.int().meta({ description: 'Send a heartbeat earlier than this, in milliseconds.' }),
    timeout_ms: z
      .int()
      .nullable()
      .meta({ description: 'The attempt fails after this, however many heartbeats it sends.' }),
  })
  .meta({ id: 'ClaimedTask' });
export type ClaimedTask = z.output<typeof claimedTask>;

export interface Held {
  readonly task_id: string;
  readonly lease: string;
}

export interface Report {
  readonly percent?: number | undefined;
  readonly message?: string | undefined;
  readonly usage?: Readonly<Record<string, unknown>> | undefined;
  readonly checkpoint?: unknown;
}

/** Why an attempt failed. The class decides whether it is tried again. */
export interface TaskError {
  readonly class: string;
  readonly code?: string | undefined;
  readonly message?: string | undefined;
  readonly retry_after_ms?: number | undefined;
}

export const answer = z.enum(['continue', 'cancelled', 'lost']);
export type Answer = z.output<typeof answer>;

const completed = z.object({ done: z.boolean(), next: claimedTask.nullable() });
const boolean = z.boolean();

export class Leases {
  readonly #calls: Calls;

  constructor(database: Database) {
    this.#calls = new Calls(database);
  }

  /** Registers a worker as alive. */
  seen(worker: string, types: readonly string[], slots: number, version?: string): Promise<unknown> {
    return this.#calls.call('worker_seen($1, $2, $3, $4)', [worker, types, slots, version], nothing);
  }

  /** Says what a worker gets from which carrier: its slots by agent type. */
  carries(worker: string, carrier: string, slots: ReadonlyMap<string, number>): Promise<unknown> {
    const values = [worker, carrier, json(Object.fromEntries(slots))];
    return this.#calls.call('worker_carries($1, $2, $3)', values, nothing);
  }

  /** Begins an attempt that a carrier has brought: null if it has begun already, or may not begin. */
  begin(taskId: string, attempt: number, worker: string): Promise<ClaimedTask | null> {
    return this.#calls.call('begin_task($1, $2, $3)', [taskId, attempt, worker], claimedTask.nullable());
  }

  claim(worker: string, types: readonly string[]): Promise<ClaimedTask | null> {
    return this.#calls.call('claim_task($1, $2)', [worker, types], claimedTask.nullable());
  }

  heartbeat({ task_id, lease }: Held, report: Report = {}): Promise<Answer> {
    return this.#calls.call('heartbeat_task($1, $2, $3)', [task_id, lease, json(report)], answer);
  }

  complete({ task_id, lease }: Held, output?: unknown, usage?: Report['usage']): Promise<boolean> {
    return this.#calls.call('complete_task($1, $2, $3, $4)', [task_id, lease, json(output), json(usage)], boolean);
  }

  /** Completes a task, and claims the next one of its type in the same transaction if that is at the turn. */
  completeAndClaim({ task_id, lease }: Held, worker: string, output?: unknown, usage?: Report['usage']) {
    const values = [task_id, lease, json(output), json(usage), worker];
    return this.#calls.call('complete_and_claim($1, $2, $3, $4, $5)', values, completed);
  }

  fail({ task_id, lease }: Held, error: TaskError, usage?: Report['usage']): Promise<boolean> {
    return this.#calls.call('fail_task($1, $2, $3, $4)', [task_id, lease, json(error), json(usage)], boolean);
  }

  release({ task_id, lease }: Held): Promise<boolean> {
    return this.#calls.call('release_task($1, $2)', [task_id, lease], boolean);
  }

  wait({ task_id, lease }: Held, signal: string | null, until: Date | null, checkpoint?: unknown): Promise<boolean> {
    const values = [task_id, lease, signal, until?.toISOString() ?? null, json(checkpoint)];
    return this.#calls.call('wait_task($1, $2, $3, $4, $5)', values, boolean);
  }

  addTasks(executionId: string, lease: string, tasks: readonly unknown[]): Promise<number> {
    return this.#calls.call('add_tasks($1, $2, $3)', [executionId, json(tasks), lease], z.int());
  }

  /** Those of the tasks whose lease is over, with the reason. */
  lost(held: readonly Held[]): Promise<{ task_id: string; answer: Answer }[]> {
    const leases = json(Object.fromEntries(held.map(({ task_id, lease }) => [task_id, lease])));
    return this.#calls.transaction((sql) =>
      sql.query('SELECT * FROM rowcast.lost_leases($1)', [leases], z.object({ task_id: z.string(), answer })),
    );
  }
}
