import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Backoff } from '../../client/ground/backoff.js';
import { seed } from '../property/seed.js';

const parameters = { seed: seed('backoff') };

test('each delay is drawn evenly from zero to a limit that doubles up to the cap, until a reset', () => {
  const limits = { base: fc.integer({ min: 1, max: 1_000 }), cap: fc.integer({ min: 1, max: 60_000 }) };
  const draws = fc.array(fc.oneof(fc.constant('reset' as const), fc.double({ min: 0, max: 1, noNaN: true })), {
    maxLength: 100,
    size: 'max',
  });
  fc.assert(
    fc.property(fc.record(limits), draws, ({ base, cap }, draws) => {
      let drawn = 0;
      const backoff = new Backoff({ base, cap }, () => drawn);
      let limit = Math.min(base, cap);
      for (const draw of draws) {
        if (draw === 'reset') {
          backoff.reset();
          limit = Math.min(base, cap);
          continue;
        }
        drawn = draw;
        expect(backoff.next()).toBeCloseTo(draw * limit, 6);
        limit = Math.min(cap, limit * 2);
      }
    }),
    parameters,
  );
});

test('by default the draws differ, also at the cap', () => {
  const backoff = new Backoff({ base: 1, cap: 4 });
  const delays = Array.from({ length: 2_000 }, () => backoff.next());
  expect(new Set(delays).size).toBeGreaterThan(1_900);
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...delays)).toBeLessThan(4);
  expect(delays.filter((delay) => delay < 1).length).toBeGreaterThan(300); // full jitter: a quarter of them
});

test('a hint is waited for, with a little chance on top; it is no failure, and is not believed beyond five minutes', () => {
  const backoff = new Backoff({ base: 100, cap: 1_600 }, () => 0.5);
  expect(backoff.next()).toBe(50);
  expect([0, 1_000, 299_000].map((hint) => backoff.after(hint))).toEqual([50, 1_050, 299_050]);
  expect([-1, -Infinity, 1e12, Infinity].map((hint) => backoff.after(hint))).toEqual([50, 50, 300_050, 300_050]);
  expect(backoff.next()).toBe(100);
});
