import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { Consumer, Workplace } from '../../server/engine/carrier.js';
import { startDemo } from '../../server/engine/demo.js';
import { Engine } from '../../server/engine/engine.js';
import { Leases } from '../../server/engine/leases.js';
import { AgentWorker } from '../../server/engine/worker.js';
import { makeLogger } from '../../server/ground/logger.js';
import { type ConnectedDatabase, connectDatabase } from '../../server/postgres/connect-database.js';
import { type EngineDatabase, engineDatabase, value } from '../support/engine.js';
import { until } from '../support/until.js';

let database: EngineDatabase;
let service: ConnectedDatabase;
const workers: AgentWorker[] = [];

beforeAll(async () => {
  database = await engineDatabase();
  await database.client.query(`INSERT INTO agent_types (agent_type) VALUES ('a')`);
  service = connectDatabase(database.url);
});
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop({ drain: 0 });
});
afterAll(async () => {
  await service.close();
  await database.drop();
});

/** A worker whose carrier is the test. */
function workerOf(consume: (workplace: Workplace) => Promise<Consumer>): AgentWorker {
  const worker = new AgentWorker(service, {
    agents: { a: { run: () => null } },
    carrier: { name: 'test', consume, send: async () => {}, close: async () => {} },
    logger: makeLogger('silent'),
  });
  workers.push(worker);
  return worker;
}

test('a worker keeps nothing of a task that has ended', async () => {
  const places: Workplace[] = [];
  const worker = workerOf(async (workplace) => {
    places.push(workplace);
    return { stop: async () => {} };
  });
  await worker.start();
  await new Engine(service).start(database.venture, {
    tasks: [
      { name: 'one', agent_type: 'a' },
      { name: 'two', agent_type: 'a' },
    ],
  });
  const runBoth = async () => {
    const first = await new Leases(service).claim(worker.name, ['a']);
    const second = first && (await places[0]?.run(first));
    expect([first?.name, second?.name]).toEqual(['one', 'two']);
    if (second) await places[0]?.run(second);
    return [first, second].map((task) => new WeakRef(task ?? {}));
  };
  const tasks = await runBoth();
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  await until(
    () => {
      collect();
      return tasks.every((task) => task.deref() === undefined);
    },
    { what: 'both tasks to be collected', deadlineMs: 5_000 },
  );
});

const carried = (worker: AgentWorker): Promise<unknown> =>
  value(database.client, 'SELECT carried FROM agent_workers WHERE worker_id = $1', [worker.name]);

test('E25: a worker that is stopped while it connects to its carrier leaves it', async () => {
  let connected: (consumer: Consumer) => void = () => {};
  let connecting = false;
  let left = false;
  const worker = workerOf(() => {
    connecting = true;
    return new Promise((resolve) => {
      connected = resolve;
    });
  });
  const starting = worker.start();
  await until(() => connecting, { what: 'the worker to connect' });
  const stopping = worker.stop();
  connected({
    stop: async () => {
      left = true;
    },
  });
  await Promise.all([starting, stopping]);
  expect(left).toBe(true);
  expect(await carried(worker)).toEqual({});
});

test('E25: a worker that is stopped before it connects to its carrier does not', async () => {
  let connecting = false;
  const worker = workerOf(async () => {
    connecting = true;
    return { stop: async () => {} };
  });
  const starting = worker.start();
  await worker.stop();
  await starting;
  expect(connecting).toBe(false);
  expect(await carried(worker)).toEqual({});
  await expect(worker.start()).rejects.toThrow('once');
});

test('a demo that cannot start leaves no connection', async () => {
  await expect(startDemo(database.url, 'nowhere', makeLogger('silent'))).rejects.toThrow();
  const text = `SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'rowcast demo' AND datname = current_database()`;
  await until(async () => (await value(database.client, text)) === 0, {
    what: 'its connections to end',
    deadlineMs: 2_000,
  });
});
