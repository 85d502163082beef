/**
 * The demo of `rowcast up`: a simulated agent that writes one execution after the other with plain SQL, as every service
 * would, without knowledge of the gateway. It keeps its state in the tables, and continues after a restart where it stopped.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { inSchema } from '../ground/in-schema.js';
import type { Logger } from '../ground/logger.js';
import { connectOptions } from '../postgres/connect-options.js';

/** The venture of the demo. Its id is fixed, so that its channel can be watched across restarts. */
const VENTURE = '00000000-0000-4000-8000-000000000001';
/** Selects the executions of the demo; the venture may contain others. */
const OWN = `venture_id = $1 AND metadata ->> 'agent' = 'demo'`;
/** The number of executions that are kept, so that the demo cannot fill a disk. */
const KEPT = 20;
/** Delay between two steps, and between two executions, in milliseconds. */
const PAUSE = 1_000;

const STAGES = [
  ['plan', ['read the issue', 'list the open questions', 'write the plan']],
  ['explore', ['list the files', 'read src/fields.py', 'read tests/test_fields.py', 'find the callers']],
  ['reproduce', ['write reproduce.py', 'run reproduce.py', 'confirm the wrong result']],
  ['fix', ['edit src/fields.py', 'run reproduce.py', 'round instead of truncate', 'run reproduce.py']],
  ['verify', ['run the tests', 'add a test', 'run the tests', 'remove reproduce.py', 'submit']],
] as const;
const STEPS = STAGES.flatMap(([stage, tasks], index) => tasks.map((task) => ({ number: index + 1, stage, task })));

export interface Demo {
  /** The channels to watch. */
  readonly venture: string;
  readonly execution: string;
  /** The schema of its tables, as SQL writes its name. */
  readonly schema: string;
  /** Pauses the running execution, which the next start resumes. */
  stop(): Promise<void>;
}

/** Runs the SQL of the demo, in which @extschema@ stands for the schema of the tables. */
interface Tables {
  query<Row extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<pg.QueryResult<Row>>;
}

/** Starts the demo. `schema` is the schema of the tables, as SQL writes its name. */
export async function startDemo(databaseUrl: string, schema: string, logger: Logger): Promise<Demo> {
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
  const first = await resumeOrBegin(database);
  const running = run(database, first, stopping.signal, logger);
  return {
    venture: `venture:${VENTURE}`,
    execution: `execution:${first}`,
    schema,
    async stop() {
      stopping.abort();
      await running;
      const pause = `UPDATE @extschema@.agent_executions SET status = 'paused' WHERE ${OWN} AND status = 'running'`;
      await database.query(pause, [VENTURE]).catch(() => {}); // the database may be gone already
      await pool.end();
    },
  };
}

async function run(database: Tables, first: string, signal: AbortSignal, logger: Logger): Promise<void> {
  let execution: string | null = first;
  while (!signal.aborted) {
    try {
      execution ??= await resumeOrBegin(database);
      const more = await step(database, execution);
      if (!more) execution = null;
    } catch (error) {
      logger.warn({ err: error }, 'demo');
    }
    await delay(PAUSE, undefined, { signal }).catch(() => {});
  }
}

async function resumeOrBegin(database: Tables): Promise<string> {
  const resume = `UPDATE @extschema@.agent_executions SET status = 'running' WHERE execution_id =
    (SELECT execution_id FROM @extschema@.agent_executions WHERE ${OWN} AND status IN ('paused', 'running')
      ORDER BY created_at DESC LIMIT 1) RETURNING execution_id`;
  const begin = `INSERT INTO @extschema@.agent_executions (venture_id, status, metadata)
    VALUES ($1, 'running', '{"agent":"demo"}') RETURNING execution_id`;
  const forget = `DELETE FROM @extschema@.agent_executions WHERE execution_id IN
    (SELECT execution_id FROM @extschema@.agent_executions WHERE ${OWN} ORDER BY created_at DESC OFFSET $2)`;
  await database.query(forget, [VENTURE, KEPT]);
  for (const sql of [resume, begin]) {
    const { rows } = await database.query<{ execution_id: string }>(sql, [VENTURE]);
    if (rows[0] !== undefined) return rows[0].execution_id;
  }
  throw new Error('no execution was created');
}

/** Writes the next step of the execution. Returns false if there was none left, and the execution is completed. */
async function step(database: Tables, execution: string): Promise<boolean> {
  const { rows } = await database.query<{ done: number }>(
    `SELECT count(*)::int AS done FROM @extschema@.agent_execution_logs WHERE execution_id = $1 AND event_type = 'task-completed'`,
    [execution],
  );
  const done = rows[0]?.done ?? 0;
  const next = STEPS[done];
  if (next === undefined) {
    await database.query(`UPDATE @extschema@.agent_executions SET status = 'completed' WHERE execution_id = $1`, [
      execution,
    ]);
    return false;
  }
  await database.query(
    'UPDATE @extschema@.agent_executions SET stage_number = $2 WHERE execution_id = $1 AND stage_number IS DISTINCT FROM $2',
    [execution, next.number],
  );
  await database.query(
    `INSERT INTO @extschema@.agent_execution_logs (execution_id, event_type, stage_number, message, context)
     VALUES ($1, 'task-completed', $2, $3, $4)`,
    [execution, next.number, next.task, { stage: next.stage, step: done + 1, steps: STEPS.length }],
  );
  if ((done + 1) % 4 === 0) {
    const record = `INSERT INTO @extschema@.execution_metrics (execution_id, metric_name, metric_value) VALUES ($1, 'tokens', $2)`;
    await database.query(record, [execution, (done + 1) * 731]);
  }
  return true;
}
