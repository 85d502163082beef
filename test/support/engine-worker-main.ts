/**
 * A worker as a process of its own, for tests that kill it and for the benchmark. The argument is JSON: the URL of the
 * database, and slots by agent type. `work`: agents that take up to so many milliseconds, and sometimes fail, save a checkpoint or wait for the signal `go`.
 */
import pg from 'pg';
import { AgentError, type AgentFunction } from '../../server/engine/attempt.js';
import { AgentWorker } from '../../server/engine/worker.js';
import { makeLogger } from '../../server/ground/logger.js';
import { connectDatabase } from '../../server/postgres/connect-database.js';
import { TEST_SESSION } from './database.js';
import { makeRandom } from './random.js';
import { until } from './until.js';

interface Options {
  readonly url: string;
  readonly name: string;
  readonly slots: Readonly<Record<string, number>>;
  readonly work?: number;
}

const { url, name, slots, work = 0 } = JSON.parse(process.argv[2] ?? '{}') as Options;
const random = makeRandom(process.pid);

const agent: AgentFunction = async ({ attempt, input, save, signal, progress, waitFor }) => {
  if (work === 0) return null;
  await new Promise((resolve) => setTimeout(resolve, random.next() * work));
  if (random.chance(0.2)) progress(50);
  if (random.chance(0.1)) await save({ attempt });
  if (random.chance(0.03) && input.signals === undefined) return waitFor('go');
  if (random.chance(0.1)) throw new AgentError('transient', 'chance');
  if (random.chance(0.02)) throw new AgentError('permanent', 'chance');
  signal.throwIfAborted();
  return { attempt };
};

const pool = new pg.Pool({ connectionString: url, max: 6, application_name: TEST_SESSION });
pool.on('error', () => {});
const worker = new AgentWorker(connectDatabase(pool), {
  name,
  logger: makeLogger('silent'),
  agents: Object.fromEntries(Object.entries(slots).map(([type, slots]) => [type, { slots, run: agent }])),
});
const start = () =>
  worker.start().then(
    () => true,
    () => false, // the database is being restarted
  );
await until(start, { deadlineMs: 60_000, what: 'the worker to start' });
process.stdout.write('ready\n');
process.once('SIGTERM', async () => {
  await worker.stop({ drain: 5_000 });
  await pool.end();
  process.exit();
});
