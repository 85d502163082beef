/**
 * Starts and controls executions. The rules are in the SQL set; this turns items into tasks, gives idempotency keys their
 * meaning, and returns positions from which a subscription continues. The HTTP API and services call it.
 */
import { z } from 'zod';
import { type Answered, once } from '../executions/rules/idempotency.js';
import { checked, idempotencyKey } from '../executions/rules/inputs.js';
import { EPOCH } from '../executions/rules/position.js';
import { Refusal } from '../ground/refusal.js';
import type { Database, Sql } from '../ports/database.js';
import { Calls, callIn, json, nothing } from './calls.js';
import { orderOf, PlanInvalid } from './graph.js';
import {
  numberOf,
  type Plan,
  type PlanInput,
  type PlannedTask,
  plan,
  type RuleInput,
  rule,
  type TaskInput,
  task,
} from './plan.js';
import { type Propagation, propagate } from './propagate.js';
import { type Review, reviewOf } from './review.js';

export const started = z.object({ execution_id: z.guid(), status: z.string(), tasks: z.int(), position: z.string() });
export type Started = z.output<typeof started>;

export interface EngineOptions {
  /** Rules for items. Default: those in the table `propagation_rules`, of the venture first. */
  readonly rules?: readonly RuleInput[];
}

/** The last level that is given a stage of its own, as progress reads no more. */
const STAGES = 100;

const guid = z.guid('must be an id: a UUID').toLowerCase();
const key = idempotencyKey.optional();
const mode = z.enum(['drain', 'stop']);

export class Engine {
  readonly #calls: Calls;
  readonly #rules: readonly RuleInput[] | undefined;

  constructor(database: Database, { rules }: EngineOptions = {}) {
    this.#calls = new Calls(database);
    this.#rules = rules;
  }

  /**
   * Creates an execution with its tasks and starts it, at most once per key. Rejects with `Refusal` (plan_invalid, forbidden,
   * unknown_venture, invalid_request, idempotency_key_reused) or `Unavailable`.
   */
  start(ventureId: string, input: PlanInput, idempotencyKey?: string): Promise<Answered<Started>> {
    const venture = checked(guid, ventureId);
    const wanted = checked(plan, input);
    return this.#calls.transaction((sql) =>
      once(sql, checked(key, idempotencyKey), ['start', venture, wanted], started, () =>
        this.startIn(sql, venture, wanted),
      ),
    );
  }

  /** The same within a transaction, which must touch no other execution. */
  async startIn(
    sql: Sql,
    venture: string,
    wanted: Plan,
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<Started> {
    const { tasks, propagations } = await this.#tasksOf(sql, venture, wanted);
    const { strategy_id, items, options } = wanted;
    const { priority, ...rest } = options;
    const request = {
      ...rest,
      ...more,
      strategy_id,
      priority: priority === undefined ? undefined : numberOf(priority),
      source: items === undefined ? undefined : { items },
      tasks: rowsOf(tasks),
      propagations,
    };
    const id = await callIn(sql, 'plan_execution($1, $2)', [venture, json(request)], z.guid());
    await callIn(sql, 'start_execution($1)', [id], nothing);
    return readStarted(sql, id);
  }

  /** What would become of a plan: nothing is written. */
  validate(ventureId: string, input: PlanInput): Promise<Review> {
    const venture = checked(guid, ventureId);
    const wanted = checked(plan, input);
    return this.#calls.transaction(async (sql) => reviewOf(sql, wanted, () => this.#tasksOf(sql, venture, wanted)));
  }

  /** `drain`: running tasks end, and no other begins. `stop`: they are given back, and begin again after `resume`. */
  async pause(executionId: string, options: { mode?: 'drain' | 'stop' } = {}): Promise<void> {
    await this.#control('pause_execution($1, $2)', executionId, checked(mode, options.mode ?? 'drain'));
  }

  /** A higher `budget` lets an execution go on that has spent its own. */
  async resume(executionId: string, { budget }: { budget?: number } = {}): Promise<void> {
    await this.#control('resume_execution($1, $2)', executionId, budget ?? null);
  }

  async cancel(executionId: string, reason?: string): Promise<void> {
    await this.#control('cancel_execution($1, $2)', executionId, reason ?? null);
  }

  /** Returns whether it was the first signal of that name; others are ignored. */
  signal(executionId: string, name: string, payload?: unknown): Promise<boolean> {
    return this.#calls.call(
      'signal_execution($1, $2, $3)',
      [checked(guid, executionId), name, json(payload)],
      z.boolean(),
    );
  }

  /** A new execution with the tasks of one that has ended. What was completed is not run again, except `from` and what is behind it. */
  fork(executionId: string, { from }: { from?: string } = {}, idempotencyKey?: string): Promise<Answered<Started>> {
    const id = checked(guid, executionId);
    return this.#calls.transaction((sql) =>
      once(sql, checked(key, idempotencyKey), ['fork', id, from], started, async () =>
        readStarted(sql, await callIn(sql, 'fork_execution($1, $2)', [id, from ?? null], z.guid())),
      ),
    );
  }

  addTasks(executionId: string, tasks: readonly TaskInput[]): Promise<number> {
    const rows = rowsOf(checked(z.array(task).min(1), tasks));
    return this.#calls.call('add_tasks($1, $2)', [checked(guid, executionId), json(rows)], z.int());
  }

  async retryTask(taskId: string): Promise<void> {
    await this.#control('retry_task($1)', taskId);
  }

  /** Goes on without a failed task, as if it had ended well. */
  async skipTask(taskId: string): Promise<void> {
    await this.#control('skip_task($1)', taskId);
  }

  /** Completes a task of the kind `human`. */
  async finishTask(taskId: string, output?: unknown): Promise<void> {
    await this.#control('finish_task($1, $2)', taskId, json(output));
  }

  async #control(call: string, id: string, ...more: unknown[]): Promise<void> {
    await this.#calls.call(call, [checked(guid, id), ...more], nothing);
  }

  async #tasksOf(
    sql: Sql,
    venture: string,
    { items, tasks = [] }: Plan,
  ): Promise<{ tasks: readonly PlannedTask[]; propagations: readonly Propagation[] }> {
    try {
      if (items === undefined) return { tasks: staged(tasks), propagations: [] };
      const propagated = propagate(items, this.#rules ?? (await rulesOf(sql, venture)));
      return { ...propagated, tasks: staged(propagated.tasks) };
    } catch (error) {
      throw error instanceof PlanInvalid ? new Refusal('plan_invalid', error.message) : error;
    }
  }
}

/** A level of the graph is a stage, unless the plan has stages of its own, or more levels than stages are counted. */
function staged(tasks: readonly PlannedTask[]): readonly PlannedTask[] {
  const { level } = orderOf(tasks);
  if (tasks.some(({ stage }) => stage !== undefined)) return tasks;
  if ([...level.values()].some((at) => at > STAGES)) return tasks;
  return tasks.map((one) => ({ ...one, stage: level.get(one.name) ?? 1 }));
}

/** As the SQL takes them. */
export function rowsOf(tasks: readonly PlannedTask[]) {
  return tasks.map(({ priority, ...one }) => ({
    ...one,
    ...(priority !== undefined && { priority: numberOf(priority) }),
  }));
}

const RULES = `SELECT words, agents, priority FROM @extschema@.propagation_rules
  WHERE enabled AND (venture_id IS NULL OR venture_id = $1) ORDER BY venture_id IS NULL, position, rule_id`;

const rulesOf = (sql: Sql, venture: string): Promise<z.output<typeof rule>[]> => sql.query(RULES, [venture], rule);

/** With the position before its first event, so that a subscription from there gets the whole log. */
async function readStarted(sql: Sql, id: string): Promise<Started> {
  const [row] = await sql.query(
    `SELECT e.execution_id, e.status, s.total_tasks AS tasks, ${EPOCH} || '.0' AS position
       FROM @extschema@.agent_executions e JOIN @extschema@.strategy_executions s USING (execution_id) WHERE e.execution_id = $1`,
    [id],
    started,
  );
  if (row === undefined) throw new Refusal('unknown_execution');
  return row;
}
