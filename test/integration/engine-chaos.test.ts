import { afterAll, beforeAll, expect, test } from '@jest/globals';
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
