/**
 * The health of an execution that the engine runs: the score that every execution has, and what only its tasks and workers can
 * tell: what is in its way, and when it will end, by its critical path.
 */
import { healthOf } from '@rowcast/client/progress';
import { z } from 'zod';
import type { Progresses } from '../executions/reads/progress.js';
import { ofExecutions } from '../executions/schema.js';
import type { Database } from '../ports/database.js';
import { criticalPath, orderOf } from './graph.js';
import { type ExecutionStatusView, statusIn } from './reads.js';

/** How long a ready task may wait for a worker, in seconds. */
const WAITS = 60;
/** The part of a budget from which on it is an issue. */
const NEARLY = 0.8;
/** Snapshots that are returned: the latest. */
const SNAPSHOTS = 100;
/** Names that an issue lists. */
const NAMED = 10;

const agent = z.object({
  agent_type: z.string(),
  enabled: z.boolean(),
  open: z.int(),
  running: z.int(),
  failed: z.int(),
  mean_ms: z.number().nullable().meta({ description: 'Of the completed tasks.' }),
  waits: z.number().meta({ description: 'How long a ready task has waited for a worker, in seconds.' }),
  workers: z.int().meta({ description: 'Those that are alive.' }),
  slots: z.int().meta({
    description:
      'The maximum number of tasks of the type that can run at the same time: their slots, or the limit of the type.',
  }),
});
type Agent = z.output<typeof agent>;

const issue = z.object({
  code: z.enum(['agent_missing', 'agent_disabled', 'waiting', 'tasks_failed', 'decision', 'deadline', 'budget']),
  message: z.string(),
});
type Issue = z.output<typeof issue>;

export const health = z
  .object({
    score: z.int(),
    word: z.string(),
    reasons: z.array(z.object({ code: z.string(), value: z.number(), threshold: z.number(), points: z.number() })),
    issues: z.array(issue).meta({ description: 'What is in its way.' }),
    agents: z.array(agent),
    critical_path: z.array(z.string()).meta({ description: 'Of the tasks that are not over.' }),
    predicted_end: z.object({ low: z.string(), expected: z.string(), high: z.string() }).nullable().meta({
      description: 'By the critical path and the free slots. Null until a task has completed, and unless it runs.',
    }),
    snapshots: z.array(z.object({ score: z.int(), word: z.string(), created_at: z.string() })),
  })
  .meta({ id: 'EngineHealth' });
export type EngineHealth = z.output<typeof health>;

const AGENTS = `
  SELECT row_to_json(x) AS row FROM (
    SELECT t.agent_type, y.enabled, t.open, t.running, t.failed, t.mean_ms, t.waits, w.workers, least(w.slots, y.max_running) AS slots
      FROM (SELECT agent_type, count(*) FILTER (WHERE status IN ('blocked', 'ready', 'running', 'waiting'))::int AS open,
                   count(*) FILTER (WHERE status = 'running')::int AS running, count(*) FILTER (WHERE status = 'failed')::int AS failed,
                   avg(extract(epoch FROM ended_at - started_at) * 1000) FILTER (WHERE status = 'completed')::float8 AS mean_ms,
                   coalesce(max(extract(epoch FROM now() - greatest(run_at, created_at)))
                     FILTER (WHERE status = 'ready' AND NOT held AND run_at <= now()), 0)::float8 AS waits
              FROM @extschema@.agent_tasks WHERE execution_id = $1 AND kind = 'agent' GROUP BY 1) t
      JOIN @extschema@.agent_types y USING (agent_type)
      CROSS JOIN LATERAL (SELECT count(*)::int AS workers, coalesce(sum(coalesce(a.slots, 1)), 0)::int AS slots FROM @extschema@.agent_workers a
        WHERE t.agent_type = ANY (a.agent_types) AND rowcast.is_alive(a.seen_at)) w
     ORDER BY 1) x`;

const task = z.object({
  name: z.string(),
  agent_type: z.string(),
  kind: z.string(),
  status: z.string(),
  optional: z.boolean(),
  ran_ms: z.number(),
  needs: z.array(z.string()),
});
type Task = z.output<typeof task>;

/** What is not over, with its needs that are not over either, and what has failed. */
const TASKS = `
  SELECT t.name, t.agent_type, t.kind, t.status, t.optional,
         CASE WHEN t.status = 'running' THEN extract(epoch FROM now() - t.started_at) * 1000 ELSE 0 END::float8 AS ran_ms,
         ARRAY(SELECT b.name FROM @extschema@.agent_task_dependencies d JOIN @extschema@.agent_tasks b ON b.task_id = d.depends_on
                WHERE d.task_id = t.task_id AND b.status IN ('blocked', 'ready', 'running', 'waiting') ORDER BY b.number) AS needs
    FROM @extschema@.agent_tasks t
   WHERE t.execution_id = $1 AND t.status IN ('blocked', 'ready', 'running', 'waiting', 'failed') ORDER BY t.number`;

const SNAPS = `SELECT row_to_json(x) AS row FROM (SELECT score, word, created_at FROM @extschema@.execution_health_snapshots
  WHERE execution_id = $1 ORDER BY slot DESC LIMIT ${SNAPSHOTS}) x`;
const snapshot = z.object({ row: health.shape.snapshots.element });

/** Rejects with `Refusal` (unknown_execution, forbidden). */
export function readHealth(
  database: Database,
  progresses: Pick<Progresses, 'of'>,
  id: string,
  now: number,
): Promise<EngineHealth> {
  return ofExecutions(database).transaction(async (sql) => {
    const execution = await statusIn(sql, id);
    const found = await progresses.of(sql, [id]);
    const state = found.get(id)?.state;
    if (state === undefined) throw new Error('an execution that was seen has no progress');
    const { score, word, reasons } = healthOf(state, now);
    const agents = (await sql.query(AGENTS, [id], z.object({ row: agent }))).map(({ row }) => row);
    const tasks = await sql.query(TASKS, [id], task);
    const snapshots = (await sql.query(SNAPS, [id], snapshot)).map(({ row }) => row);
    const open = tasks.filter(({ status }) => status !== 'failed');
    const { path, end } = predict(open, agents, execution.status === 'running' ? now : null);
    const issues = issuesOf({ execution, agents, tasks, open, end });
    return { score, word, reasons: [...reasons], issues, agents, critical_path: path, predicted_end: end, snapshots };
  });
}

/**
 * It cannot end before its critical path has run, nor before each type of agent has done its work in the slots that there are;
 * and it takes no longer than both one after the other. What a task takes is the mean of its type, else that of all.
 */
export function predict(open: readonly Task[], agents: readonly Agent[], now: number | null) {
  const order = orderOf(open);
  const known = agents.flatMap(({ mean_ms }) => mean_ms ?? []);
  const overall = known.reduce((sum, mean) => sum + mean, 0) / known.length;
  const means = new Map(agents.map(({ agent_type, mean_ms }) => [agent_type, mean_ms ?? overall]));
  const left = new Map(
    open.map(({ name, kind, agent_type, ran_ms }) => [
      name,
      kind === 'human' ? 0 : Math.max(0, (means.get(agent_type) ?? overall) - ran_ms),
    ]),
  );
  const measured = known.length > 0;
  const { names, length } = criticalPath(open, order, (name) => (measured ? (left.get(name) ?? 0) : 1));
  if (now === null || !measured || open.length === 0) return { path: names, end: null };
  const work = new Map<string, number>();
  for (const { name, agent_type } of open) work.set(agent_type, (work.get(agent_type) ?? 0) + (left.get(name) ?? 0));
  const busiest = agents.reduce(
    (most, { agent_type, slots }) => Math.max(most, (work.get(agent_type) ?? 0) / Math.max(1, slots)),
    0,
  );
  const at = (ms: number) => new Date(now + ms).toISOString();
  const end = { low: at(length), expected: at(Math.max(length, busiest)), high: at(length + busiest) };
  return { path: names, end };
}

interface Found {
  readonly execution: ExecutionStatusView;
  readonly agents: readonly Agent[];
  readonly tasks: readonly Task[];
  readonly open: readonly Task[];
  readonly end: EngineHealth['predicted_end'];
}

function issuesOf({ execution, agents, tasks, open, end }: Found): Issue[] {
  if (execution.ended_at !== null) return [];
  const issues: Issue[] = [];
  const say = (code: Issue['code'], message: string) => issues.push({ code, message });
  const names = (some: readonly Task[]) => some.slice(0, NAMED).map(({ name }) => name);
  for (const { agent_type, open, enabled, workers, waits } of agents) {
    if (open === 0) continue;
    if (!enabled) say('agent_disabled', `${agent_type} is disabled; tasks that need it: ${open}`);
    else if (workers === 0) say('agent_missing', `no worker for ${agent_type} is alive; tasks that need one: ${open}`);
    else if (waits > WAITS) say('waiting', `a task for ${agent_type} has been ready for ${Math.round(waits)} s`);
  }
  const failed = tasks.filter(({ status, optional }) => status === 'failed' && !optional);
  if (failed.length > 0) say('tasks_failed', `failed tasks (${failed.length}): ${names(failed).join(', ')}`);
  const decisions = open.filter(({ kind, status }) => kind === 'human' && status === 'ready');
  if (decisions.length > 0) say('decision', `a person has to decide: ${names(decisions).join(', ')}`);
  const { deadline_at: deadline, budget, spent } = execution;
  if (deadline !== null && end !== null && Date.parse(end.expected) > Date.parse(deadline)) {
    say('deadline', `it is expected to end at ${end.expected}, after its deadline ${deadline}`);
  }
  if (budget !== null && spent >= NEARLY * budget) say('budget', `${spent} of its budget of ${budget} is spent`);
  return issues;
}
