/**
 * The demo of `rowcast up`: two executions that the engine runs, and a worker whose agents only pretend to work. When one has
 * ended, the next of its kind begins. All state is in the tables, so that the demo continues after a restart where it stopped.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { z } from 'zod';
import { ofExecutions } from '../executions/schema.js';
import type { Logger } from '../ground/logger.js';
import type { Database } from '../ports/database.js';
import { SERVICE } from '../ports/principal.js';
import { connectOptions } from '../postgres/connect-options.js';
import { principalDatabase } from '../postgres/principal-database.js';
import { types } from '../postgres/session.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import { AgentError, type AgentTask } from './attempt.js';
import { type DemoRun, pretended, RUNS } from './demo-runs.js';
import { Engine } from './engine.js';
import { AgentWorker } from './worker.js';

/** The venture of the demo. Its id is fixed, so that its channel can be watched across restarts. */
const VENTURE = '00000000-0000-4000-8000-000000000001';
/** The number of executions of each kind that are kept, so that the demo cannot fill a disk. */
const KEPT = 20;
/** How often it looks whether an execution has ended, and so the pause between two, in milliseconds. */
const PAUSE = 2_000;
/** How many tasks of each agent run at the same time. */
const SLOTS = 4;
/** What a token costs. */
const PRICE = 0.000_012;

export interface Demo {
  /** The channels to watch. */
  readonly venture: string;
  readonly execution: string;
  /** The schema of its tables, as SQL writes its name. */
  readonly schema: string;
  /** Pauses the running executions, which the next start resumes. */
  stop(): Promise<void>;
}

/** Selects the executions of the demo; the venture may contain others. */
const OWN = `venture_id = $1 AND metadata ->> 'agent' = 'demo'`;
const CREATE = `INSERT INTO @extschema@.ventures (venture_id, name) VALUES ($1, 'Demo') ON CONFLICT DO NOTHING`;
const OPEN = `SELECT e.execution_id AS id, e.status, e.metadata ->> 'run' AS kind
  FROM @extschema@.agent_executions e JOIN @extschema@.strategy_executions s USING (execution_id)
  WHERE ${OWN} AND s.ended_at IS NULL ORDER BY e.created_at DESC`;
const FORGET = `DELETE FROM @extschema@.agent_executions WHERE execution_id IN
  (SELECT execution_id FROM @extschema@.agent_executions WHERE ${OWN} AND metadata ->> 'run' = $2 ORDER BY created_at DESC OFFSET $3)`;
const MEASURE = `INSERT INTO @extschema@.execution_metrics (execution_id, metric_name, metric_value) VALUES ($1, 'tokens', $2), ($1, 'cost', $3)`;

const open = z.object({ id: z.guid(), status: z.string(), kind: z.string().nullable() });

/** Starts the demo. `schema` is the schema of the tables, as SQL writes its name. */
export async function startDemo(databaseUrl: DatabaseUrl, schema: string, logger: Logger): Promise<Demo> {
  const pool = new pg.Pool({ ...connectOptions(databaseUrl), application_name: 'rowcast demo', max: 4, types });
  pool.on('error', () => {}); // the next query connects again, or fails
  try {
    return await startIn(pool, schema, logger);
  } catch (error) {
    await pool.end();
    throw error;
  }
}

async function startIn(pool: pg.Pool, schema: string, logger: Logger): Promise<Demo> {
  const database = ofExecutions(principalDatabase(pool, SERVICE, 'demo'), schema);
  const ask = <T>(text: string, values: readonly unknown[], row: z.ZodType<T>) =>
    database.transaction((sql) => sql.query(text, values, row));
  const engine = new Engine(database);

  const begin = async ({ kind, title, tasks, options }: DemoRun): Promise<string> => {
    await ask(FORGET, [VENTURE, kind, KEPT], z.unknown());
    const metadata = { agent: 'demo', run: kind, title };
    const plan = { strategy_id: kind, tasks: [...tasks], options: { ...options, metadata } };
    return (await engine.start(VENTURE, plan)).value.execution_id;
  };

  await ask(CREATE, [VENTURE], z.unknown());
  const found = await ask(OPEN, [VENTURE], open);
  for (const { id, status } of found) if (status === 'paused') await engine.resume(id);
  const executions: string[] = [];
  for (const run of RUNS) executions.push(found.find(({ kind }) => kind === run.kind)?.id ?? (await begin(run)));

  const agents = new Set(RUNS.flatMap(({ tasks }) => tasks.flatMap(({ agent_type = [] }) => agent_type)));
  const run = pretender(database);
  const worker = new AgentWorker(database, {
    agents: Object.fromEntries([...agents].map((name) => [name, { slots: SLOTS, run }])),
    name: 'demo',
    logger,
  });
  await worker.start();
  const stopping = new AbortController();
  const { signal } = stopping;
  const keepRunning = async () => {
    while (!signal.aborted) {
      await delay(PAUSE, undefined, { signal }).catch(() => {});
      try {
        const present = signal.aborted ? null : await ask(OPEN, [VENTURE], open);
        for (const run of RUNS) if (present?.every(({ kind }) => kind !== run.kind)) await begin(run);
      } catch (error) {
        logger.warn({ err: error }, 'demo');
      }
    }
  };
  const running = keepRunning();
  return {
    venture: `venture:${VENTURE}`,
    execution: `execution:${executions[0]}`,
    schema,
    async stop() {
      stopping.abort();
      await running;
      try {
        await worker.stop({ drain: 0 });
        for (const { id, status } of await ask(OPEN, [VENTURE], open)) if (status === 'running') await engine.pause(id);
      } catch {
        // The database may be gone already.
      }
      await pool.end();
    },
  };
}

/** An agent that waits, fails as its input says, and measures what it would have used. */
function pretender(database: Database) {
  return async ({ execution_id, input, attempt, signal, progress, use }: AgentTask) => {
    const { takes, fails } = pretended.parse(input);
    await delay(takes / 2, undefined, { signal });
    progress(50);
    await delay(takes / 2, undefined, { signal });
    if (fails !== undefined && attempt <= fails.times) throw new AgentError(fails.class, fails.message);
    const tokens = 400 + Math.round(takes);
    const cost = Number((tokens * PRICE).toFixed(4));
    use({ tokens, cost });
    await database.transaction((sql) => sql.query(MEASURE, [execution_id, tokens, cost], z.unknown()));
    return { tokens };
  };
}
