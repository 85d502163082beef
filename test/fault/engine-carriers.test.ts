import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Ticker } from '../../server/engine/ticker.js';
import { makeLogger } from '../../server/ground/logger.js';
import { seed } from '../property/seed.js';
import { type CarrierWorld, type CarrierWorlds, carrierWorlds, onAll } from '../support/carriers.js';
import {
  brokenLaws,
  type EngineDatabase,
  engineDatabase,
  type PlannedTask,
  started,
  statusOf,
  value,
} from '../support/engine.js';
import { fairNow } from '../support/fair-clock.js';
import { program } from '../support/programs.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { makeRandom } from '../support/random.js';
import { until } from '../support/until.js';

const HOUR = 3_600_000;
/** Longer than any test. */
const LONG = 600_000;

let database: EngineDatabase;
let client: EngineDatabase['client'];
let carriers: CarrierWorlds;
let ticker: Ticker;
/** Between the worker processes and the database. What carriers use is not behind it. */
let proxy: FaultProxy;
const children = new Map<string, ChildProcess>();

beforeAll(async () => {
  database = await engineDatabase();
  client = database.client;
  proxy = await startProxy(Number(new URL(database.url).port));
  carriers = await carrierWorlds(database, makeRandom(seed('engine-carriers')));
  ticker = new Ticker(carriers.service, makeLogger('silent'));
  ticker.start();
  await client.query(`INSERT INTO agent_types (agent_type, backoff_base_ms, lease_seconds)
    SELECT c || ' ' || t, 0, 1 FROM unnest(ARRAY['claims', 'bullmq', 'dbos']) c, unnest(ARRAY['a', 'b']) t`);
}, 60_000);
afterAll(async () => {
  for (const child of children.values()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  await carriers.stop();
  await ticker.stop();
  await proxy.close();
  expect(await brokenLaws(client)).toEqual([]);
  await database.drop();
});

const start = (world: CarrierWorld, tasks: readonly PlannedTask[]) =>
  started(client, database.venture, world.plan(tasks));
const ends = (execution: string) =>
  until(async () => (await statusOf(client, execution)) === 'completed', { what: 'an execution to be completed' });
const many = (count: number, more: object): PlannedTask[] =>
  Array.from({ length: count }, (_, index) => ({ name: `t${index}`, agent_type: 'a', ...more }));
const attempts = (execution: string) =>
  value(client, 'SELECT max(attempt) FROM agent_tasks WHERE execution_id = $1', [execution]);
const workers = async (execution: string): Promise<string[]> =>
  value(
    client,
    `SELECT coalesce(array_agg(DISTINCT worker_id ORDER BY worker_id), '{}') FROM agent_tasks WHERE execution_id = $1 AND worker_id IS NOT NULL`,
    [execution],
  );

/** A worker process of a carrier. Resolves when it takes tasks. */
async function spawnWorker(
  { name: carrier, url, type }: CarrierWorld,
  name: string,
  more: object,
): Promise<ChildProcess> {
  const options = {
    url: proxy.via(database.url),
    carrier: url,
    name: `${name} ${carrier}`,
    slots: { [type('a')]: 2 },
    ...more,
  };
  const child = spawn(process.execPath, [program('test/support/engine-worker-main.ts'), JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.set(options.name, child);
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  return child;
}

test('C17: without LISTEN, polling alone brings each task within a second', async () => {
  await onAll(carriers, async (world) => {
    await world.work({ a: () => null }, { gateway: { onRows: () => () => {} } });
    for (let i = 0; i < 2; i++) {
      const before = fairNow();
      await ends(await start(world, many(1, {})));
      expect(fairNow() - before).toBeLessThan(1_500); // to its end
    }
    await world.rest();
  });
}, 60_000);

test('C11: what is marked as sent and is lost before it is sent, or taken and lost before it begins, is sent again', async () => {
  await onAll(carriers, async (world) => {
    if (world.url === null) return; // nothing is sent
    await world.work({ a: () => null });
    // As a gateway that is killed after the commit of the mark, and before it has sent.
    const marked = await until(
      async () => {
        await client.query('BEGIN');
        const execution = await start(world, many(1, {}));
        const { rowCount } = await client.query('SELECT * FROM rowcast.send_tasks($1)', [world.name]);
        await client.query(rowCount === 1 ? 'COMMIT' : 'ROLLBACK');
        return rowCount === 1 ? execution : null;
      },
      { what: 'the outbox' },
    );
    await ends(marked);
    await world.rest();
    const victim = await spawnWorker(world, 'victim', { dies: true });
    const closed = once(victim, 'close');
    const taken = await start(world, many(1, {}));
    expect((await closed)[1]).toBe('SIGKILL');
    expect(await workers(taken)).toEqual([]);
    await world.work({ a: () => null });
    await ends(taken);
    expect(await attempts(taken)).toBe(1);
    await world.rest();
  });
}, 60_000);

test('C16: workers whose clock is wrong by an hour keep their leases', async () => {
  let sign = 1;
  await onAll(carriers, async (world) => {
    sign = -sign;
    await spawnWorker(world, 'old', { version: 'v1', clock: sign * HOUR });
    const execution = await start(world, [...many(3, {}), { name: 'long', agent_type: 'a', input: { ms: 1_200 } }]);
    await ends(execution);
    expect([await attempts(execution), await workers(execution)]).toEqual([1, [`old ${world.name}`]]);
  });
}, 60_000);

test('C14: what a worker runs or takes that is cut off from the database alone, another one does', async () => {
  const executions = new Map<CarrierWorld, string>();
  await onAll(carriers, async (world) => {
    const execution = await start(world, many(1, { input: { ms: LONG } }));
    executions.set(world, execution);
    await until(async () => (await workers(execution)).length > 0, { what: 'it to run' });
  });
  proxy.refuse();
  proxy.reset();
  await onAll(carriers, async (world) => {
    await world.work({ a: { slots: 2, run: () => null } }, { name: `new ${world.name}`, version: 'v2' });
    const more = await start(world, many(8, {}));
    const first = executions.get(world) ?? '';
    await Promise.all([ends(first), ends(more)]);
    expect([await attempts(first), await workers(first)]).toEqual([2, [`new ${world.name}`]]);
    expect([await attempts(more), await workers(more)]).toEqual([1, [`new ${world.name}`]]);
  });
  proxy.heal();
}, 60_000);

test('C18: an old worker and a new one run side by side, and the old one stops without a loss', async () => {
  await onAll(carriers, async (world) => {
    const old = children.get(`old ${world.name}`) as ChildProcess;
    const both = await until(
      async () => {
        const execution = await start(world, many(6, { input: { ms: 20 } }));
        await ends(execution);
        return (await workers(execution)).length === 2 ? execution : null;
      },
      { what: 'both to have a part' },
    );
    const last = await start(world, many(8, { input: { ms: 20 } }));
    const closed = once(old, 'close');
    old.kill('SIGTERM');
    expect(await closed).toEqual([0, null]);
    await ends(last);
    expect([await attempts(both), await attempts(last)]).toEqual([1, 1]);
  });
  const versions = await value(
    client,
    `SELECT array_agg(DISTINCT version ORDER BY version) FROM agent_workers WHERE version IS NOT NULL`,
  );
  expect(versions).toEqual(['v1', 'v2']);
}, 60_000);
