import { z } from 'zod';
import { type Check, fault, type Outcome, ok, warning } from '../doctor/check.js';
import { inSchema } from '../ground/in-schema.js';

/** How long a ready task may wait for a worker, and how old a snapshot may be that makes claims dearer, in seconds. */
const WAITS = 60;
const OLD_SNAPSHOT = 600;

const INSTALLED = `SELECT quote_ident(schema) AS schema FROM rowcast.extensions WHERE name = 'engine'`;
const state = z.object({
  open: z.int(),
  running: z.int(),
  workers: z.int(),
  stalled: z.int(),
  overdue: z.int(),
  snapshot: z.number(),
});
/** `overdue`: leases that are over, and that no ticker has ended. */
const STATE = `
  SELECT (SELECT count(*)::int FROM @extschema@.strategy_executions WHERE ended_at IS NULL) AS open,
         (SELECT count(*)::int FROM @extschema@.agent_tasks WHERE status = 'running') AS running,
         (SELECT count(*)::int FROM @extschema@.agent_workers WHERE rowcast.is_alive(seen_at)) AS workers,
         (SELECT count(*)::int FROM @extschema@.agent_executions e JOIN @extschema@.strategy_executions USING (execution_id)
           WHERE e.status = 'running' AND rowcast.is_stalled(execution_id)) AS stalled,
         (SELECT count(*)::int FROM @extschema@.agent_tasks WHERE status = 'running' AND lease_until < now() - interval '30 seconds') AS overdue,
         (SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0)::float8 FROM pg_stat_activity WHERE backend_xmin IS NOT NULL) AS snapshot`;
const waiting = z.object({ agent_type: z.string(), waits: z.int(), alive: z.boolean(), limited: z.boolean() });
const WAITING = `
  SELECT t.agent_type, max(extract(epoch FROM now() - t.run_at))::int AS waits, y.max_running IS NOT NULL OR y.rate_count IS NOT NULL AS limited,
         EXISTS (SELECT FROM @extschema@.agent_workers w WHERE t.agent_type = ANY (w.agent_types) AND rowcast.is_alive(w.seen_at)) AS alive
    FROM @extschema@.agent_tasks t JOIN @extschema@.agent_types y USING (agent_type)
   WHERE t.status = 'ready' AND NOT t.held AND t.kind = 'agent' AND t.run_at < now() - interval '${WAITS} seconds'
   GROUP BY 1, y.max_running, y.rate_count ORDER BY 2 DESC LIMIT 20`;

/** The check of `rowcast doctor` for the engine. Without an installation it returns no outcome. */
export const engineCheck: Check = {
  name: 'engine',
  async run(probe) {
    const there = z.object({ there: z.boolean() });
    const found = await probe.readOne(there, `SELECT to_regclass('rowcast.extensions') IS NOT NULL AS there`);
    const [installed] = found.there ? await probe.read(z.object({ schema: z.string() }), INSTALLED, []) : [];
    if (installed === undefined) return [];
    const now = await probe.readOne(state, inSchema(STATE, installed.schema));
    const waits = await probe.read(waiting, inSchema(WAITING, installed.schema), []);
    const problems = [...standing(now), ...waits.map(waitingOutcome)];
    return problems.length > 0
      ? problems
      : ok(`open executions: ${now.open}, running tasks: ${now.running}, live workers: ${now.workers}`);
  },
};

function standing({ stalled, overdue, snapshot, open }: z.output<typeof state>): Outcome[] {
  const problems: Outcome[] = [];
  if (stalled > 0)
    problems.push(fault(`${stalled} executions have no task that can run`, 'SELECT * FROM rowcast.broken_laws();'));
  if (overdue > 0) {
    problems.push(
      fault(`${overdue} leases are over, and nothing has ended them`, 'Run a gateway: it looks after leases'),
    );
  }
  if (open > 0 && snapshot > OLD_SNAPSHOT) {
    const found = `a snapshot has been open for ${Math.round(snapshot)} s, which makes claims dearer`;
    problems.push(warning(found, 'Find it in pg_stat_activity (backend_xmin), and end it or run it elsewhere'));
  }
  return problems;
}

function waitingOutcome({ agent_type, waits, alive, limited }: z.output<typeof waiting>): Outcome {
  const found = `a task for ${agent_type} has been ready for ${waits} s`;
  if (!alive) return warning(`${found}, and no worker for it is alive`, `Start a worker for ${agent_type}`);
  return limited
    ? warning(`${found}: its type has a limit`, 'Raise max_running or rate_count in agent_types, if that is not meant')
    : warning(`${found}: its workers are busy`, 'Start more workers, or give them more slots');
}
