/**
 * The storm: random executions on three worker processes and two gateways, of which one after the other is killed, while
 * executions are paused, resumed and cancelled and PostgreSQL crashes. At its end everything must end, no law be broken, and
 * every client have the whole log.
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
import { StormClients } from './engine-storm-clients.js';
import { NO_RATES } from './gateway.js';
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
  /** What the clients got that differs from the log. */
  readonly missed: readonly string[];
}

const SETTINGS = { fsync: 'off', shared_buffers: '64MB', max_connections: '100', deadlock_timeout: '200ms' };
const TYPES = ['a', 'b', 'c', 'd'];
/** Between two acts of the driver, in milliseconds. */
const ACT = 80;
/** How long everything may take to end, in milliseconds. */
const END = 60_000;

export async function storm(options: StormOptions): Promise<StormResult> {
  const ends: (() => unknown)[] = [];
  try {
    return await stormIn(options, (end) => ends.unshift(end));
  } finally {
    // A storm that failed must leave no process and no handle behind.
    for (const end of ends) await end();
  }
}

async function stormIn(options: StormOptions, atEnd: (end: () => unknown) => void): Promise<StormResult> {
  const { random, duration, say = () => {} } = options;
  const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-storm-'));
  atEnd(() => rm(dataDir, { recursive: true, force: true }));
  await chmod(dataDir, 0o755);
  // Counted in the log: the counters of PostgreSQL are lost in a crash.
  let deadlocks = 0;
  const log = (line: string) => {
    if (line.includes('deadlock detected')) deadlocks += 1;
  };
  const embedded = { dataDir: join(dataDir, 'data'), settings: SETTINGS, log };
  let server: EmbeddedPostgres = await startEmbedded(embedded);
  atEnd(() => server.stop());
  const { url, port } = server;
  await migrate(url, { with: ['engine'] });
  const pool = new pg.Pool({ connectionString: url, max: 4, application_name: TEST_SESSION });
  atEnd(() => pool.end());
  pool.on('error', () => {});
  const ventures = await ventureIds(pool);
  const gateways: GatewayProcess[] = [];
  const ports: number[] = [];
  atEnd(() => Promise.all(gateways.map((gateway) => gateway.kill('SIGKILL'))));
  const startGateway = async (index: number) => {
    const gateway = await startGatewayProcess(url, { ...NO_RATES, ROWCAST_MAX_SUBSCRIPTIONS: '100000' });
    gateways[index] = gateway;
    ports[index] = Number(new URL(gateway.url).port);
    return true;
  };
  for (const index of [0, 1]) await startGateway(index);
  const counts = { kills: 0, crashes: 0 };
  const workers: ChildProcess[] = [];
  atEnd(() => workers.map((child) => child.kill('SIGKILL')));
  const startOne = async (index: number) => {
    workers[index] = spawnWorker(url, index, random.branch(`worker ${index}, after ${counts.kills} kills`));
    await isReady(workers[index]);
  };
  for (const index of [0, 1, 2]) await startOne(index);
  const clients = await StormClients.start(join(dataDir, 'histories'), ports, random);
  atEnd(() => clients.close());
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
      await startOne(index);
    }),
    every(options.killGateway, async () => {
      const index = random.int(0, gateways.length - 1);
      await gateways[index]?.kill('SIGKILL');
      counts.kills += 1;
      // PostgreSQL may crash while it starts: it ends then, and its supervisor would start it again.
      await until(() => startGateway(index).catch(() => false), { deadlineMs: 30_000, what: 'a gateway to start' });
    }),
    every(options.crash, async () => {
      say('PostgreSQL crashes');
      server.kill('SIGQUIT');
      await server.exited;
      server = await startEmbedded({ ...embedded, port });
      counts.crashes += 1;
    }),
    every(ACT, () => act(pool, ventures, random, (execution) => clients.follow(execution))),
  ];
  // All of them end before anything else does, whatever one of them met.
  for (const struck of await Promise.allSettled(strikes)) if (struck.status === 'rejected') throw struck.reason;
  say(`the storm is over: ${counts.kills} kills, ${counts.crashes} crashes`);

  const after = performance.now();
  await pool.query(`SELECT rowcast.start_execution(execution_id) FROM agent_executions WHERE status = 'pending'`);
  const goOn = async () => {
    // One that was told to hold after a failure is paused again at its end.
    for (const id of await idsOf(pool, `'paused'`))
      await pool.query('SELECT rowcast.resume_execution($1)', [id]).catch(ended);
    for (const id of await idsOf(pool, `'running'`))
      await pool.query(`SELECT rowcast.signal_execution($1, 'go')`, [id]).catch(ended);
    return value<number>(pool, `SELECT count(*)::int FROM strategy_executions WHERE ended_at IS NULL`);
  };
  let notEnded = await goOn();
  while (notEnded > 0 && performance.now() - after < END) {
    await delay(ACT);
    notEnded = await goOn();
  }
  const endedAfter = performance.now() - after;
  const { rows } = await pool.query<{ status: string; n: number }>(
    'SELECT status, count(*)::int AS n FROM agent_tasks GROUP BY 1',
  );
  return {
    ...counts,
    executions: await value<number>(pool, 'SELECT count(*)::int FROM strategy_executions'),
    tasks: Object.fromEntries(rows.map(({ status, n }) => [status, n])),
    endedAfter,
    notEnded,
    broken: await brokenLaws(pool),
    deadlocks,
    missed: await clients.judged(url),
  };
}

/** It may have ended meanwhile. */
const ended = (error: { code?: string }): void => {
  if (error.code !== 'RC001') throw error;
};

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

function spawnWorker(url: string, index: number, random: Random): ChildProcess {
  const options = {
    url,
    name: `worker ${index}`,
    work: 120,
    seed: random.int(0, 2 ** 31),
    slots: Object.fromEntries(TYPES.map((type) => [type, 3])),
  };
  const args = [program('test/support/engine-worker-main.ts'), JSON.stringify(options)];
  return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** It may be killed before. */
const isReady = (child: ChildProcess): Promise<unknown> =>
  Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), once(child, 'close')]);

/** One act of the users. While PostgreSQL is away, it fails. */
async function act(
  pool: pg.Pool,
  ventures: readonly string[],
  random: Random,
  follow: (execution: string) => void,
): Promise<void> {
  const open = `strategy_executions JOIN agent_executions USING (execution_id) WHERE ended_at IS NULL`;
  const nth = random.int(0, 1e6);
  const one = `(SELECT (array_agg(execution_id ORDER BY created_at))[1 + ${nth} % count(*)] FROM ${open})`;
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
    follow(id);
    await pool.query('SELECT rowcast.start_execution($1)', [id]);
  };
  await (random.chance(0.6) ? start() : random.pick(acts)()).catch(() => {});
}
