/**
 * The demo of `rowcast up`: simulated agents that write with plain SQL, as every service would, without knowledge of the
 * gateway. Of each run one execution is at work, and the next begins when it has ended. All state is in the tables, so that
 * the demo continues after a restart where it stopped.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { inSchema } from '../ground/in-schema.js';
import type { Logger } from '../ground/logger.js';
import { connectOptions } from '../postgres/connect-options.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import { type DemoRun, type DemoStep, planOf, RUNS } from './demo-runs.js';

/** The venture of the demo. Its id is fixed, so that its channel can be watched across restarts. */
const VENTURE = '00000000-0000-4000-8000-000000000001';
/** Selects the executions of a run of the demo; the venture may contain others. */
const OWN = `venture_id = $1 AND metadata ->> 'agent' = 'demo' AND metadata ->> 'run' = $2`;
/** The number of executions of each run that are kept, so that the demo cannot fill a disk. */
const KEPT = 20;
/** How often the agents look at their steps, and the pause between two executions, in milliseconds. */
const TICK = 250;
const PAUSE = 2_000;

export interface Demo {
  /** The channels to watch. */
  readonly venture: string;
  readonly execution: string;
  /** The schema of its tables, as SQL writes its name. */
  readonly schema: string;
  /** Pauses the running executions, which the next start resumes. */
  stop(): Promise<void>;
}

/** Runs the SQL of the demo, in which @extschema@ stands for the schema of the tables. */
interface Tables {
  query<Row extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<pg.QueryResult<Row>>;
}

/** Starts the demo. `schema` is the schema of the tables, as SQL writes its name. */
export async function startDemo(databaseUrl: DatabaseUrl, schema: string, logger: Logger): Promise<Demo> {
  const stopping = new AbortController();
  const pool = new pg.Pool({
    ...connectOptions(databaseUrl),
    application_name: 'rowcast demo',
    max: 1,
    onConnect: (client) => client.query('SET ROLE service_role'),
  });
  pool.on('error', () => {}); // the next query connects again, or fails
  const database: Tables = { query: (text, values) => pool.query(inSchema(text, schema), values) };
  const create = `INSERT INTO @extschema@.ventures (venture_id, name) VALUES ($1, 'Demo') ON CONFLICT DO NOTHING`;
  await database.query(create, [VENTURE]);
  const running: Promise<void>[] = [];
  const executions: string[] = [];
  for (const run of RUNS) {
    const first = await resumeOrBegin(database, run);
    executions.push(first);
    running.push(keepRunning(database, run, first, stopping.signal, logger));
  }
  return {
    venture: `venture:${VENTURE}`,
    execution: `execution:${executions[0]}`,
    schema,
    async stop() {
      stopping.abort();
      await Promise.all(running);
      const pause = `UPDATE @extschema@.agent_executions SET status = 'paused'
        WHERE venture_id = $1 AND metadata ->> 'agent' = 'demo' AND status = 'running'`;
      await database.query(pause, [VENTURE]).catch(() => {}); // the database may be gone already
      await pool.end();
    },
  };
}

async function keepRunning(
  database: Tables,
  run: DemoRun,
  first: string,
  signal: AbortSignal,
  logger: Logger,
): Promise<void> {
  let execution: string | null = first;
  while (!signal.aborted) {
    try {
      execution ??= await resumeOrBegin(database, run);
      if (!(await advanced(database, run, execution))) execution = null;
    } catch (error) {
      logger.warn({ err: error }, 'demo');
    }
    await delay(execution === null ? PAUSE : TICK, undefined, { signal }).catch(() => {});
  }
}

async function resumeOrBegin(database: Tables, run: DemoRun): Promise<string> {
  const resume = `UPDATE @extschema@.agent_executions SET status = 'running' WHERE execution_id =
    (SELECT execution_id FROM @extschema@.agent_executions WHERE ${OWN} AND status IN ('paused', 'running')
      ORDER BY created_at DESC LIMIT 1) RETURNING execution_id`;
  const begin = `INSERT INTO @extschema@.agent_executions (venture_id, status, metadata)
    VALUES ($1, 'running', jsonb_build_object('agent', 'demo', 'run', $2::text, 'title', $3::text)) RETURNING execution_id`;
  const forget = `DELETE FROM @extschema@.agent_executions WHERE execution_id IN
    (SELECT execution_id FROM @extschema@.agent_executions WHERE ${OWN} ORDER BY created_at DESC OFFSET $3)`;
  await database.query(forget, [VENTURE, run.kind, KEPT]);
  const [resumed] = (await database.query<{ execution_id: string }>(resume, [VENTURE, run.kind])).rows;
  if (resumed !== undefined) return resumed.execution_id;
  const [begun] = (await database.query<{ execution_id: string }>(begin, [VENTURE, run.kind, run.title])).rows;
  if (begun === undefined) throw new Error('no execution was created');
  const plan = planOf(run);
  if (plan !== null) await write(database, begun.execution_id, 'execution-planned', 'the plan', plan);
  return begun.execution_id;
}

/** What the table says of a step. */
interface Standing {
  readonly step_id: string;
  readonly begun: number;
  readonly failed: number;
  readonly done: number;
  /** Milliseconds since it last began. */
  readonly running: number;
}

/** Takes each agent one step further. Returns false once the execution has ended. */
async function advanced(database: Tables, run: DemoRun, execution: string): Promise<boolean> {
  const [record] = (
    await database.query<{ status: string }>(
      `SELECT status FROM @extschema@.agent_executions WHERE execution_id = $1`,
      [execution],
    )
  ).rows;
  if (record === undefined || !['running', 'paused', 'pending'].includes(record.status)) return false;
  if (record.status !== 'running') return true; // paused by a person, who may resume it
  const read = `
    SELECT context ->> 'step_id' AS step_id,
           count(*) FILTER (WHERE event_type = 'task-assigned')::int AS begun,
           count(*) FILTER (WHERE event_type = 'task-failed')::int AS failed,
           count(*) FILTER (WHERE event_type = 'task-completed')::int AS done,
           (1000 * extract(epoch FROM clock_timestamp() - max(created_at) FILTER (WHERE event_type = 'task-assigned')))::float8 AS running
      FROM @extschema@.agent_execution_logs WHERE execution_id = $1 AND event_type LIKE 'task-%' GROUP BY 1`;
  const standings = new Map((await database.query<Standing>(read, [execution])).rows.map((row) => [row.step_id, row]));
  const steps = run.lanes.flat();
  const done = steps.filter(({ id }) => (standings.get(id)?.done ?? 0) > 0).length;
  if (done === steps.length) {
    await database.query(`UPDATE @extschema@.agent_executions SET status = 'completed' WHERE execution_id = $1`, [
      execution,
    ]);
    return false;
  }
  for (const lane of run.lanes) {
    const step = lane.find(({ id }) => (standings.get(id)?.done ?? 0) === 0);
    if (step !== undefined)
      await work(database, execution, step, standings.get(step.id), { done, steps: steps.length });
  }
  return true;
}

interface Amount {
  readonly done: number;
  readonly steps: number;
}

/** Begins a step, or ends it when its time is over. */
async function work(
  database: Tables,
  execution: string,
  step: DemoStep,
  standing: Standing | undefined,
  { done, steps }: Amount,
): Promise<void> {
  const { id, name, agent, stage, takes, fails } = step;
  const { begun = 0, failed = 0, running = 0 } = standing ?? {};
  const context = { step_id: id, step: name, agent, steps, ...(stage && { stage: stage.name }) };
  if (begun === failed) {
    if (stage !== null) {
      const enter = `UPDATE @extschema@.agent_executions SET stage_number = $2 WHERE execution_id = $1 AND stage_number IS DISTINCT FROM $2`;
      await database.query(enter, [execution, stage.number]);
    }
    return write(database, execution, 'task-assigned', name, context, stage?.number);
  }
  if (running < takes) return;
  const ended = { ...context, duration_ms: Math.round(running) };
  if (fails !== null && failed === 0) {
    return write(
      database,
      execution,
      'task-failed',
      name,
      { ...ended, success: false, error: fails },
      stage?.number,
      'error',
    );
  }
  await write(database, execution, 'task-completed', name, { ...ended, success: true }, stage?.number);
  if ((done + 1) % 2 !== 0) return;
  const record = `INSERT INTO @extschema@.execution_metrics (execution_id, metric_name, metric_value) VALUES ($1, 'tokens', $2), ($1, 'cost', $3)`;
  const tokens = (done + 1) * 731 + Math.round(running / 10);
  await database.query(record, [execution, tokens, (tokens * 0.000_012).toFixed(4)]);
}

async function write(
  database: Tables,
  execution: string,
  type: string,
  message: string,
  context: object,
  stage: number | null = null,
  level = 'info',
): Promise<void> {
  await database.query(
    `INSERT INTO @extschema@.agent_execution_logs (execution_id, event_type, stage_number, message, context, log_level)
     VALUES ($1, $2, $3, $4, $5, $6::rowcast.log_level)`,
    [execution, type, stage, message, context, level],
  );
}
