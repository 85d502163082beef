import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { advance, begin, healthOf } from '../../client/progress/index.js';
import { Progresses } from '../../server/executions/reads/progress.js';
import { ofExecutions } from '../../server/executions/schema.js';
import { HealthTicker, SLOT } from '../../server/executions/service/health-ticker.js';
import { makeLogger } from '../../server/ground/logger.js';
import { connectDatabase } from '../../server/postgres/connect-database.js';
import { createExecution, createVenture } from '../support/api.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
let writer: pg.Pool;
let venture: string;
const tickers: HealthTicker[] = [];
beforeAll(async () => {
  database = await createDatabase();
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  venture = await createVenture(writer, 'ann');
  for (let gateway = 0; gateway < 3; gateway += 1) {
    tickers.push(
      new HealthTicker({
        database: ofExecutions(connectDatabase(writer)),
        progresses: new Progresses(),
        alerts: null,
        logger: makeLogger('error'),
      }),
    );
  }
});
afterAll(async () => {
  await writer.end();
  await database.drop();
});

const attempt = (id: string, step: number, type: 'task-completed' | 'task-failed') =>
  writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, message, context)
     VALUES ($1, $2, 'a step', jsonb_build_object('step_id', $3::text))`,
    [id, type, `${step}`],
  );

const snapshots = async (id: string) =>
  (
    await writer.query(
      'SELECT score, word, told FROM execution_health_snapshots WHERE execution_id = $1 ORDER BY slot',
      [id],
    )
  ).rows;

const told = async (id: string) =>
  (
    await writer.query(
      `SELECT seq, message, context ->> 'word' AS word FROM agent_execution_logs
        WHERE execution_id = $1 AND event_type = 'health-update' ORDER BY seq`,
      [id],
    )
  ).rows;

test('of several gateways one writes the snapshot of a slot, and readers are told when the health has changed', async () => {
  const id = await createExecution(writer, venture, 'running');
  const done = await createExecution(writer, venture, 'completed');
  const tick = (slot: number) => Promise.all(tickers.map((ticker) => ticker.tick(slot * SLOT)));
  await tick(1);
  expect(await snapshots(id)).toEqual([{ score: 100, word: 'excellent', told: false }]);
  expect(await told(id)).toEqual([]);

  for (let step = 1; step <= 4; step += 1) await attempt(id, step, step <= 2 ? 'task-failed' : 'task-completed');
  await tick(2);
  await tick(2);
  await tick(3);
  const { rows } = await writer.query(
    'SELECT seq::int AS seq, event_type, message, context, created_at FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq',
    [id],
  );
  const state = rows.reduce((before, { seq, ...row }) => advance(before, { seq, row }), begin());
  const { score, word } = healthOf(state, 3 * SLOT);
  expect(score).toBeLessThan(95);
  expect(await snapshots(id)).toEqual([
    { score: 100, word: 'excellent', told: false },
    { score, word, told: true },
    { score, word, told: false },
  ]);
  expect(await told(id)).toEqual([{ seq: expect.any(String), message: `health is ${word}, ${score} of 100`, word }]);
  expect(await snapshots(done)).toEqual([]);
});
