import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { advance, begin, healthOf, type ProgressState } from '@rowcast/client/progress';
import type pg from 'pg';
import { seed } from '../property/seed.js';
import { brokenLaws, type EngineDatabase, engineDatabase, poolOf } from '../support/engine.js';
import { bringToAnEnd, chaos } from '../support/engine-chaos.js';
import { makeRandom } from '../support/random.js';
import { newVenture } from '../support/writer.js';

let database: EngineDatabase;
let pool: pg.Pool;

beforeAll(async () => {
  database = await engineDatabase();
  pool = poolOf(database.url, 8);
  await pool.query(`INSERT INTO agent_types (agent_type, backoff_base_ms, max_running, rate_count, rate_seconds) VALUES
    ('a', 10, NULL, NULL, 60), ('b', 10, 2, NULL, 60), ('c', 0, 1, NULL, 60), ('d', 10, 3, 100, 1)`);
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

test('E1-E10, E21: whatever is called, in any order and from many connections at once, no law is broken', async () => {
  const random = makeRandom(seed('engine-chaos'));
  const ventures = [database.venture, await newVenture(database.client), await newVenture(database.client)];
  const world = { pool, ventures, executions: [], claims: [] };
  await chaos(world, random);
  expect(await brokenLaws(pool)).toEqual([]);
  await bringToAnEnd(world);
  expect(await brokenLaws(pool)).toEqual([]);
  const { rows } = await pool.query('SELECT status, count(*)::int AS n FROM agent_tasks GROUP BY 1 ORDER BY 1');
  expect(rows.find(({ status }) => status === 'completed')?.n).toBeGreaterThan(100);
});

/** The logs of all executions, each in its order. */
async function logs() {
  const { rows } = await pool.query<{ id: string; status: string; seq: string; row: Record<string, unknown> }>(
    `SELECT e.execution_id AS id, e.status, l.seq, row_to_json(l) AS row
       FROM agent_executions e JOIN agent_execution_logs l USING (execution_id) ORDER BY l.execution_id, l.seq`,
  );
  return rows;
}

test('E18: the status of every execution follows from its log alone', async () => {
  const states = new Map<string, ProgressState>();
  const real = new Map<string, string>();
  for (const { id, status, seq, row } of await logs()) {
    real.set(id, status);
    states.set(id, advance(states.get(id) ?? begin(), { seq: Number(seq), row }));
  }
  expect(states.size).toBeGreaterThan(10);
  expect(new Map([...states].map(([id, { status }]) => [id, status]))).toEqual(real);
});

test('E24: at every position the score is from 0 to 100 and its reasons add up; one that is untouched is not ill', async () => {
  const states = new Map<string, ProgressState>();
  let untouched = 0;
  for (const { id, seq, row } of await logs()) {
    const state = advance(states.get(id) ?? begin(), { seq: Number(seq), row });
    states.set(id, state);
    const { score, reasons } = healthOf(state, Date.parse(String(row.created_at)));
    expect(score).toBe(Math.max(0, Math.round(100 - reasons.reduce((sum, { points }) => sum + points, 0))));
    if (state.steps.attempts.ended > 0 || state.steps.counts.running > 0) continue;
    untouched += 1;
    expect(score).toBe(100);
  }
  expect(untouched).toBeGreaterThan(10);
});
