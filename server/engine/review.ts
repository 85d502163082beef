/** What would become of a plan, as a checklist. Reads which types of agents are known and have a worker; writes nothing. */
import { z } from 'zod';
import { Refusal } from '../ground/refusal.js';
import type { Sql } from '../ports/database.js';
import { criticalPath, orderOf, PlanInvalid } from './graph.js';
import type { Plan, PlannedTask } from './plan.js';

export const check = z.object({
  check: z.enum(['plan', 'agents known', 'agents alive', 'agents enabled', 'inputs', 'deadline']),
  ok: z.boolean(),
  detail: z.string(),
});
type Check = z.output<typeof check>;

export const review = z
  .object({
    valid: z.boolean().meta({ description: 'Whether it can be started. The other checks are warnings.' }),
    score: z.int().meta({ description: 'The part of the checks that are fine, from 0 to 100.' }),
    checks: z.array(check),
    tasks: z.int(),
    order: z.array(z.string()).meta({ description: 'The names of the tasks, each after those that it needs.' }),
    width: z.int().meta({ description: 'The maximum number of tasks that could run at the same time.' }),
    critical_path: z.array(z.string()),
    cycle: z.array(z.string()).nullable(),
    agents: z.array(
      z.object({ agent_type: z.string(), tasks: z.int(), known: z.boolean(), enabled: z.boolean(), workers: z.int() }),
    ),
  })
  .meta({ id: 'PlanReview' });
export type Review = z.output<typeof review>;

const TYPES = `
  SELECT w.agent_type, y.agent_type IS NOT NULL AS known, coalesce(y.enabled, true) AS enabled,
         (SELECT count(*)::int FROM @extschema@.agent_workers a
           WHERE w.agent_type = ANY (a.agent_types) AND rowcast.is_alive(a.seen_at)) AS workers
    FROM unnest($1::text[]) w(agent_type) LEFT JOIN @extschema@.agent_types y USING (agent_type) ORDER BY 1`;
const type = z.object({ agent_type: z.string(), known: z.boolean(), enabled: z.boolean(), workers: z.int() });

const INVALID = { order: [], width: 0, critical_path: [], tasks: 0, agents: [] };

export async function reviewOf(
  sql: Sql,
  plan: Plan,
  tasksOf: () => Promise<{ readonly tasks: readonly PlannedTask[] }>,
): Promise<Review> {
  let tasks: readonly PlannedTask[];
  try {
    ({ tasks } = await tasksOf());
  } catch (error) {
    if (!(error instanceof Refusal) || error.code !== 'plan_invalid') throw error;
    const cycle = cycleOf(plan);
    return { valid: false, score: 0, checks: [{ check: 'plan', ok: false, detail: error.message }], cycle, ...INVALID };
  }
  const order = orderOf(tasks);
  const counts = new Map<string, number>();
  for (const { agent_type = 'human', kind } of tasks) {
    if (kind === 'agent') counts.set(agent_type, (counts.get(agent_type) ?? 0) + 1);
  }
  const types = await sql.query(TYPES, [[...counts.keys()]], type);
  const agents = types.map((one) => ({ ...one, tasks: counts.get(one.agent_type) ?? 0 }));
  const checks = [
    { check: 'plan' as const, ok: true, detail: `${tasks.length} tasks without a cycle` },
    ...checksOf(agents, plan),
  ];
  const { names } = criticalPath(tasks, order);
  return {
    valid: true,
    score: Math.round((checks.filter(({ ok }) => ok).length / checks.length) * 100),
    checks,
    tasks: tasks.length,
    order: [...order.names],
    width: order.width,
    critical_path: names,
    cycle: null,
    agents,
  };
}

function checksOf(agents: Review['agents'], { items = [], options: { deadline_at } }: Plan): Check[] {
  const list = (wrong: readonly { agent_type: string }[]) => wrong.map(({ agent_type }) => agent_type).join(', ');
  const agentsCheck = (check: Check['check'], wrong: readonly { agent_type: string }[], fault: string): Check => ({
    check,
    ok: wrong.length === 0,
    detail: wrong.length === 0 ? 'all' : `${fault}: ${list(wrong)}`,
  });
  const short = items.filter(({ text }) => text.trim().length < 3);
  const late = deadline_at !== undefined && Date.parse(deadline_at) <= Date.now();
  return [
    agentsCheck(
      'agents known',
      agents.filter(({ known }) => !known),
      'never seen before',
    ),
    agentsCheck(
      'agents enabled',
      agents.filter(({ enabled }) => !enabled),
      'disabled',
    ),
    agentsCheck(
      'agents alive',
      agents.filter(({ workers }) => workers === 0),
      'no worker is alive',
    ),
    {
      check: 'inputs',
      ok: short.length === 0,
      detail: short.length === 0 ? 'all' : `hardly any text: ${short[0]?.id}`,
    },
    { check: 'deadline', ok: !late, detail: late ? 'it has passed' : (deadline_at ?? 'none') },
  ];
}

/** The cycle of a plan of tasks. One of items is in the message of the check. */
function cycleOf({ tasks = [] }: Plan): string[] | null {
  try {
    orderOf(tasks);
    return null;
  } catch (error) {
    if (!(error instanceof PlanInvalid)) throw error;
    return error.cycle === null ? null : [...error.cycle];
  }
}
