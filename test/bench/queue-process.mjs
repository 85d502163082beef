/**
 * A process that fills a queue of jobs, or works on it. Jobs do nothing. Arguments: `fill` or `work`, the library, where it is
 * installed, the URL of the database, and how many jobs to fill in.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';

const QUEUES = ['a', 'b', 'c', 'd'];
/** Jobs of one kind that run in one process at once: as many as the engine's workers have. */
const SLOTS = 4;
/** pg-boss polls each queue, twice a second at most, and takes so many at a time. */
const POLL = { pollingIntervalSeconds: 0.5, batchSize: 100 };

const [what, library, home, connectionString, jobs = '0'] = process.argv.slice(2);
const load = createRequire(join(home, 'index.js'));
const each = async (work) => {
  for (const name of QUEUES) await work(name);
};

const libraries = {
  'graphile-worker': {
    async fill(count) {
      const { makeWorkerUtils } = load('graphile-worker');
      const utils = await makeWorkerUtils({ connectionString });
      await utils.migrate();
      await each((name) => utils.addJobs(Array.from({ length: count }, () => ({ identifier: name, payload: {} }))));
      await utils.release();
    },
    async work() {
      const { run } = load('graphile-worker');
      const taskList = Object.fromEntries(QUEUES.map((name) => [name, async () => {}]));
      const concurrency = SLOTS * QUEUES.length;
      const runner = await run({
        connectionString,
        concurrency,
        maxPoolSize: concurrency,
        noHandleSignals: true,
        taskList,
      });
      return () => runner.stop();
    },
  },
  'pg-boss': {
    async boss() {
      const Boss = load('pg-boss');
      const boss = new Boss({ connectionString, supervise: false, schedule: false, max: 8 });
      boss.on('error', () => {});
      await boss.start();
      return boss;
    },
    async fill(count) {
      const boss = await this.boss();
      await each(async (name) => {
        await boss.createQueue(name);
        await boss.insert(Array.from({ length: count }, () => ({ name })));
      });
      await boss.stop({ graceful: false });
    },
    async work() {
      const boss = await this.boss();
      await each((name) => boss.work(name, POLL, async () => {}));
      return () => boss.stop({ graceful: false });
    },
  },
};

if (what === 'fill') {
  await libraries[library].fill(Number(jobs) / QUEUES.length);
  process.exit();
}
const stop = await libraries[library].work();
process.once('SIGTERM', () => void stop().then(() => process.exit()));
process.stdout.write('ready\n');
