import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { isAlive } from '../../server/postgres/supervise.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { metricOf } from '../support/metrics.js';
import { type GatewayProcess, killAll, runRowcast, startGatewayProcess } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const WORKERS = 3;

let database: TestDatabase;
let writer: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  killAll();
  await writer.end();
  await database.drop();
});

async function workersOf({ pid }: GatewayProcess): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return children.trim().split(' ').filter(Boolean).map(Number);
}

/** Of all workers; there is none while one of them is too busy to answer. */
async function figure(url: string, name: string): Promise<number> {
  let value = Number.NaN;
  const whole = async () => {
    value = await metricOf(url, `rowcast_${name}`);
    return !Number.isNaN(value);
  };
  await until(whole, { what: `the metric ${name} of all workers` });
  return value;
}

const publish = (count: number) =>
  writer.query(`SELECT rowcast.publish('message:shared', 'note') FROM generate_series(1, $1::int)`, [count]);

test('I1 I2 I3: workers share a port; one that is killed is replaced, and its clients go on elsewhere', async () => {
  const gateway = await startGatewayProcess(database.url, { ROWCAST_WORKERS: `${WORKERS}` });
  const workers = await workersOf(gateway);
  expect(workers).toHaveLength(WORKERS);
  const clients = Array.from({ length: 12 }, () => testClient({ url: gateway.url }));
  const followers = clients.map((client) => follow(client, 'message:shared'));
  await Promise.all(followers.map(({ live }) => live()));
  // Whichever worker answers, the figures are those of all.
  expect(await figure(gateway.url, 'connections')).toBe(12);
  expect(await figure(gateway.url, 'subscriptions')).toBe(12);
  expect(await figure(gateway.url, 'open_statements_total')).toBe(WORKERS);

  let rows = 0;
  for (const pid of workers) {
    await publish(10);
    process.kill(pid, 'SIGKILL');
    await publish(10);
    rows += 20;
    const replaced = async () => {
      const now = await workersOf(gateway);
      return now.length === WORKERS && !now.includes(pid);
    };
    await until(replaced, { what: 'another worker in the place of the one that was killed' });
    await Promise.all(followers.map(({ count }) => count(rows)));
  }
  for (const { events, resets } of followers) {
    expect(events.map(({ seq }) => seq)).toEqual(seqs(1, rows));
    expect(resets).toEqual([]);
  }
  const last = await workersOf(gateway);
  for (const client of clients) client.close();
  await gateway.stop();
  expect([...workers, ...last].filter(isAlive)).toEqual([]);
}, 60_000);

test('a worker that hangs fails the metrics, not who asks for them, and is replaced', async () => {
  const gateway = await startGatewayProcess(database.url, { ROWCAST_WORKERS: '2' });
  const [hung = 0] = await workersOf(gateway);
  process.kill(hung, 'SIGSTOP');
  const answers = new Set<number>();
  const ask = async () => {
    // Every second connection would be given to the worker that hangs.
    const signal = AbortSignal.timeout(7_000);
    const response = await fetch(`${gateway.url}/metrics`, { signal, headers: { connection: 'close' } }).catch(
      () => null,
    );
    answers.add(response?.status ?? 0);
    return response?.status === 200;
  };
  await until(ask, { deadlineMs: 40_000, what: 'the metrics to be whole again' });
  expect(answers).toContain(503);
  expect(isAlive(hung)).toBe(false);
  await until(async () => (await workersOf(gateway)).length === 2, { what: 'another worker in its place' });
  await gateway.stop();
}, 60_000);

test('workers whose primary is killed end by themselves, and let go of the database', async () => {
  const gateway = await startGatewayProcess(database.url, { ROWCAST_WORKERS: '2' });
  const workers = await workersOf(gateway);
  const told: (string | undefined)[] = [];
  const client = testClient({ url: gateway.url, onState: (_, error) => told.push(error?.code) });
  await follow(client, 'message:left').live();
  await gateway.kill('SIGKILL');
  await until(() => !workers.some(isAlive), { what: 'the workers to end' });
  expect(told).toContain('shutting_down');
});

test('a port that is taken is said once, before the database is touched, and nothing is left running', async () => {
  const gateway = await startGatewayProcess(database.url);
  const { port } = new URL(gateway.url);
  const second = runRowcast(['up', '--no-demo', '--workers', '2'], {
    DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nowhere',
    ROWCAST_PORT: port,
    ROWCAST_LOG_LEVEL: 'warn',
  });
  expect(await second.exited).toBe(1);
  expect(second.errors()).toContain(`port ${port} is taken`);
  await gateway.stop();
});

test('a number of workers that is none is refused', async () => {
  const refused = runRowcast(['up', '--workers', 'many'], { DATABASE_URL: database.url });
  expect(await refused.exited).toBe(2);
  expect(refused.errors()).toContain('ROWCAST_WORKERS');
});
