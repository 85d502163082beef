/**
 * A worker as a process of its own, for tests that kill it and for the benchmark. The argument is JSON: the URL of the
 * database, and slots by agent type. `work`: agents that take up to so many milliseconds, and sometimes fail, save a
 * checkpoint or wait for the signal `go`, which only a test that sends it can use; without it they do nothing but wait
 * for `ms` of their input, or for their abort.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { AgentError, type AgentFunction } from '../../server/engine/attempt.js';
import type { Carrier } from '../../server/engine/carrier.js';
import { openCarrier } from '../../server/engine/carriers/open.js';
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
  /** Of what the agents of `work` do. */
  readonly seed?: number;
  readonly version?: string;
  /** The URL of a carrier, which it takes tasks from. */
  readonly carrier?: string | null;
  /** It is killed by what the carrier brings, before that begins. */
  readonly dies?: boolean;
  /** By how many milliseconds its clock is wrong. */
  readonly clock?: number;
}

const {
  url,
  name,
  slots,
  work = 0,
  seed = 0,
  version,
  carrier: carrierUrl = null,
  dies = false,
  clock = 0,
} = JSON.parse(process.argv[2] ?? '{}') as Options;
const random = makeRandom(seed);

if (clock !== 0) {
  const RealDate = Date;
  globalThis.Date = class extends RealDate {
    constructor(...given: unknown[]) {
      if (given.length === 0) super(RealDate.now() + clock);
      else super(...(given as [number]));
    }
    static override now() {
      return RealDate.now() + clock;
    }
  } as DateConstructor;
}

const agent: AgentFunction = async ({ attempt, input, save, signal, progress, waitFor }) => {
  if (work === 0 && input.ms === undefined) return null;
  signal.addEventListener('abort', () => process.stdout.write('aborted\n'));
  if (work === 0) return sleep(Number(input.ms), null, { signal });
  await new Promise((resolve) => setTimeout(resolve, random.next() * work));
  if (random.chance(0.2)) progress(50);
  if (random.chance(0.1)) await save({ attempt });
  if (random.chance(0.03) && input.signals === undefined) return waitFor('go');
  if (random.chance(0.1)) throw new AgentError('transient', 'chance');
  if (random.chance(0.02)) throw new AgentError('permanent', 'chance');
  signal.throwIfAborted();
  return { attempt };
};

const pool = new pg.Pool({ connectionString: url, max: 6, pipeline: true, application_name: TEST_SESSION });
pool.on('error', () => {});

async function carrierOf(url: string): Promise<Carrier> {
  const carrier = await openCarrier(url, makeLogger('silent'));
  const carry = async () => void process.kill(process.pid, 'SIGKILL');
  return dies ? { ...carrier, consume: (workplace) => carrier.consume({ ...workplace, carry }) } : carrier;
}

const carrier = carrierUrl === null ? undefined : await carrierOf(carrierUrl);
const worker = new AgentWorker(connectDatabase(pool), {
  name,
  ...(version !== undefined && { version }),
  ...(carrier && { carrier }),
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
  await carrier?.close();
  await pool.end();
  process.exit();
});
