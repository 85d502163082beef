/**
 * Two queues of jobs in PostgreSQL under the load of the engine: as many jobs of four kinds, and two processes. Their jobs have
 * no dependencies and write no log, so they are enqueued beforehand.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type pg from 'pg';
import { packageRoot } from '../../server/ground/package-root.js';
import { value } from '../support/engine.js';
import { until } from '../support/until.js';

/** How many jobs of each are left. */
const LEFT = {
  'graphile-worker': 'SELECT count(*)::int FROM graphile_worker.jobs',
  'pg-boss': `SELECT count(*)::int FROM pgboss.job WHERE state < 'completed'`,
};
export const LIBRARIES = ['graphile-worker', 'pg-boss'] as const;

/** Jobs a second. `client` is connected to the database of `url`. `home`: where the libraries are installed. */
export async function queueRate(
  library: (typeof LIBRARIES)[number],
  home: string,
  url: string,
  client: pg.Client,
  jobs: number,
): Promise<number> {
  const file = join(packageRoot(), 'test/bench/queue-process.mjs');
  execFileSync(process.execPath, [file, 'fill', library, home, url, `${jobs}`], { stdio: 'inherit' });
  const workers = ['w1', 'w2'].map(() =>
    spawn(process.execPath, [file, 'work', library, home, url], { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  try {
    // From then on both run: the time that a process takes to start is not that of the library.
    await Promise.all(workers.map(({ stdout }) => once(stdout, 'data')));
    const before = await value<number>(client, LEFT[library]);
    const began = performance.now();
    const done = async () => (await value<number>(client, LEFT[library])) === 0;
    await until(done, { deadlineMs: 60_000, what: `the jobs of ${library}` });
    return (before * 1000) / (performance.now() - began);
  } finally {
    for (const worker of workers) worker.kill('SIGTERM');
    await Promise.all(workers.map((worker) => once(worker, 'close')));
  }
}
