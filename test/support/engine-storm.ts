/**
 * The storm: random executions on three worker processes and two gateways, of which one after the other is killed, while
 * executions are paused, resumed and cancelled and PostgreSQL crashes. At its end everything must end, and no law be broken.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { type EmbeddedPostgres, startEmbedded } from '../../server/postgres/embedded.js';
import { migrate } from '../../server/postgres/migrate.js';
import { TEST_SESSION } from './database.js';
import { brokenLaws, randomPlan, value } from './engine.js';
import { type GatewayProcess, startGatewayProcess } from './process.js';
import { program } from './programs.js';
import type { Random } from './random.js';
import { until } from './until.js';

export interface StormOptions {
  readonly random: Random;
  /** In milliseconds: the storm, and the time between two strikes on a worker, a gateway and PostgreSQL. */
  readonly duration: number;
  readonly killWorker: number;
  readonly killGateway: number;
  readonly crash: number;
  readonly say?: (line: string) => void;
}

export interface StormResult {
  readonly executions: number;
  readonly kills: number;
  readonly crashes: number;
  readonly tasks: Readonly<Record<string, number>>;
  /** How long the last execution needed to end after the storm, in milliseconds. */
  readonly endedAfter: number;
  readonly notEnded: number;
  readonly broken: readonly string[];
  readonly deadlocks: number;
}

const SETTINGS = { fsync: 'off', shared_buffers: '64MB', max_connections: '100', deadlock_timeout: '200ms' };
const TYPES = ['a', 'b', 'c', 'd'];
/** Between two acts of the driver, in milliseconds. */
const ACT = 80;
/** How long everything may take to end, in milliseconds. */
const END = 60_000;

export async function storm(options: StormOptions): Promise<StormResult> {
  const { random, duration, say = () => {} } = options;
  const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-storm-'));
  await chmod(dataDir, 0o755);
  let server: EmbeddedPostgres = await startEmbedded({ dataDir, settings: SETTINGS });
  const { url, port } = server;
  await migrate(url, { with: ['engine'] });
  const pool = new pg.Pool({ connectionString: url, max: 4, application_name: TEST_SESSION });
  pool.on('error', () => {});
  const ventures = await ventureIds(pool);
  const gateways: GatewayProcess[] = [await startGatewayProcess(url), await startGatewayProcess(url)];
  const workers: ChildProcess[] = [];
  for (let index = 0; index < 3; index++) workers.push(await startWorker(url, index));
  const counts = { kills: 0, crashes: 0 };
  const began = performance.now();
  const over = () => performance.now() - began > duration;

  /** Repeats a strike until the storm is over. */
  const every = async (time: number, strike: () => Promise<void>) => {
    for (;;) {
      for (let waited = 0; waited < time && !over(); waited += ACT) await delay(ACT);
      if (over()) return;
      await strike();
    }
  };
  const strikes = [
    every(options.killWorker, async () => {
      const index = random.int(0, workers.length - 1);
      workers[index]?.kill('SIGKILL');
      counts.kills += 1;
      workers[index] = await startWorker(url, index);
    }),
    every(options.killGateway, async () => {
      const index = random.int(0, gateways.length - 1);
      await gateways[index]?.kill('SIGKILL');
      counts.kills += 1;
      // PostgreSQL may crash while it starts: it ends then, and its supervisor would start it again.
      const start = () => startGatewayProcess(url).catch(() => null);
      gateways[index] = await until(start, { deadlineMs: 30_000, what: 'a gateway to start' });
    }),
    every(options.crash, async () => {
      say('PostgreSQL crashes');
      server.kill('SIGQUIT');
      await server.exited;
      server = await startEmbedded({ dataDir, port, settings: SETTINGS });
      counts.crashes += 1;
    }),
    every(ACT, () => act(pool, ventures, random)),
  ];
  await Promise.all(strikes);
  say(`the storm is over: ${counts.kills} kills, ${counts.crashes} crashes`);

  const after = performance.now();
  await pool.query(`SELECT rowcast.start_execution(execution_id) FROM agent_executions WHERE status = 'pending'`);
  for (const id of await idsOf(pool, `'paused'`)) await pool.query('SELECT rowcast.resume_execution($1)', [id]);
  const open = () => value<number>(pool, `SELECT count(*)::int FROM strategy_executions WHERE ended_at IS NULL`);
  let notEnded = await open();
  while (notEnded > 0 && performance.now() - after < END) {
    await delay(ACT);
    // One that was told to hold after a failure is paused again at its end.
    for (const id of await idsOf(pool, `'paused'`)) await pool.query('SELECT rowcast.resume_execution($1)', [id]);
    notEnded = await open();
  }
  const endedAfter = performance.now() - after;
  const { rows } = await pool.query<{ status: string; n: number }>(
    'SELECT status, count(*)::int AS n FROM agent_tasks GROUP BY 1',
  );
  const result = {
    ...counts,
    executions: await value<number>(pool, 'SELECT count(*)::int FROM strategy_executions'),
    tasks: Object.fromEntries(rows.map(({ status, n }) => [status, n])),
    endedAfter,
    notEnded,
    broken: await brokenLaws(pool),
    deadlocks: await value<number>(pool, 'SELECT sum(deadlocks)::int FROM pg_stat_database'),
  };
  for (const child of workers) child.kill('SIGKILL');
  for (const gateway of gateways) await gateway.kill('SIGKILL');
  await pool.end();
  await server.stop();
  await rm(dataDir, { recursive: true });
  return result;
}

const idsOf = (pool: pg.Pool, status: string): Promise<string[]> =>
  value(
    pool,
    `SELECT coalesce(array_agg(execution_id), '{}') FROM agent_executions JOIN strategy_executions USING (execution_id) WHERE status = ${status}`,
  );

const ventureIds = (pool: pg.Pool): Promise<string[]> =>
  value(
    pool,
    `WITH v AS (INSERT INTO ventures (name) SELECT 'v' || n FROM generate_series(1, 3) n RETURNING venture_id),
      t AS (INSERT INTO agent_types (agent_type, lease_seconds, backoff_base_ms, max_running)
        VALUES ('a', 3, 50, NULL), ('b', 3, 50, 3), ('c', 3, 50, NULL), ('d', 3, 50, 2))
     SELECT array_agg(venture_id) FROM v`,
  );

async function startWorker(url: string, index: number): Promise<ChildProcess> {
  const options = {
    url,
    name: `worker ${index}`,
    work: 120,
    slots: Object.fromEntries(TYPES.map((type) => [type, 3])),
  };
  const args = [program('test/support/engine-worker-main.ts'), JSON.stringify(options)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), once(child, 'close')]);
  return child;
}

/** One act of the users. While PostgreSQL is away, it fails. */
async function act(pool: pg.Pool, ventures: readonly string[], random: Random): Promise<void> {
  const one = '(SELECT execution_id FROM strategy_executions WHERE ended_at IS NULL ORDER BY random() LIMIT 1)';
  const acts: readonly (() => Promise<unknown>)[] = [
    () => pool.query(`SELECT rowcast.pause_execution(${one}, $1)`, [random.pick(['drain', 'stop'])]),
    () => pool.query(`SELECT rowcast.resume_execution(${one})`),
    () => pool.query(`SELECT rowcast.cancel_execution(${one})`),
    () => pool.query(`SELECT rowcast.signal_execution(${one}, 'go')`),
  ];
  const start = async () => {
    const request = { tasks: randomPlan(random), on_failure: random.pick(['continue', 'hold', 'stop']) };
    const text = 'SELECT rowcast.plan_execution($1, $2)';
    const id = await value<string>(pool, text, [random.pick(ventures), JSON.stringify(request)]);
    await pool.query('SELECT rowcast.start_execution($1)', [id]);
  };
  await (random.chance(0.6) ? start() : random.pick(acts)()).catch(() => {});
}
