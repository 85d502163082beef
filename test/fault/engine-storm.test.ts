import { afterAll, expect, test } from '@jest/globals';
import { seed } from '../property/seed.js';
import { storm } from '../support/engine-storm.js';
import { killAll } from '../support/process.js';
import { makeRandom } from '../support/random.js';

afterAll(killAll);

test('E1-E10, E14, E21, C2-C5, C12, C15: after kills and a crash everything ends, no law is broken, and every client has the log', async () => {
  const random = makeRandom(seed('engine-storm'));
  const result = await storm({ random, duration: 7_000, killWorker: 1_200, killGateway: 3_000, crash: 4_000 });
  expect(result).toMatchObject({ notEnded: 0, broken: [], deadlocks: 0, missed: [] });
  expect(result.executions).toBeGreaterThan(5);
  expect(result.kills).toBeGreaterThan(0);
}, 120_000);
