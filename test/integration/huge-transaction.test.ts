import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { seqs } from '../support/follow.js';
import { type GatewayProcess, killAll, startGatewayProcess } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter, newExecution } from '../support/writer.js';

let database: TestDatabase;
let gateway: GatewayProcess;
let writer: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startGatewayProcess(database.url);
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  await writer.end();
  await gateway.stop().finally(killAll);
  await database.drop();
});

test('I2 I6: 100,000 rows in one INSERT arrive in full while the gateway grows by less than 200 MB', async () => {
  const execution = await newExecution(writer);
  const client = testClient({ url: gateway.url });
  const seen: number[] = [];
  const subscription = client.subscribe(`execution:${execution}`, {
    since: 'start',
    onEvent: ({ seq, row }) => {
      if ((row.context as { step: number }).step !== seq) throw new Error(`seq ${seq} carries another row`);
      seen.push(seq);
    },
  });
  await until(() => subscription.state === 'live', { what: 'the subscription' });
  const before = await gateway.memory();
  let peak = before;
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, message, context)
     SELECT $1, 'step ' || i, jsonb_build_object('step', i, 'note', repeat('x', 500)) FROM generate_series(1, 100000) i`,
    [execution],
  );
  await until(
    async () => {
      peak = Math.max(peak, await gateway.memory());
      return seen.length >= 100_000;
    },
    { deadlineMs: 60_000, what: 'all rows' },
  );
  client.close();
  expect(seen).toEqual(seqs(1, 100_000));
  const grown = (peak - before) / 2 ** 20;
  process.stdout.write(`100,000 rows in one INSERT: the gateway grew by ${grown.toFixed(0)} MB at most\n`);
  expect(grown).toBeLessThan(200);
}, 90_000);
