import { beforeEach, describe, expect, test } from '@jest/globals';
import { Statistics } from '../../client/polling/statistics.js';
import { FakeClock } from '../support/fakes.js';

const THRESHOLDS = { failureRate: 0.05, response: 5_000, recovery: 60_000 };

let clock: FakeClock;
let statistics: Statistics;

beforeEach(() => {
  clock = new FakeClock();
  statistics = new Statistics(clock, THRESHOLDS);
});

function answered(time: number): void {
  statistics.answered(time);
  statistics.recovered();
}

function kinds(): string[] {
  return statistics.warnings().map(({ kind }) => kind);
}

test('nothing is known before the first request', () => {
  expect(statistics.stats).toEqual({
    requests: 0,
    failures: 0,
    successRate: 1,
    meanResponse: 0,
    p95Response: 0,
    recovery: null,
  });
});

test('mean and 95th percentile are those of the answers; what failed counts in the rate', () => {
  for (let time = 1; time <= 40; time += 1) answered(time);
  for (let failure = 0; failure < 10; failure += 1) statistics.failed();
  expect(statistics.stats).toMatchObject({
    requests: 50,
    failures: 10,
    successRate: 0.8,
    meanResponse: 20.5,
    p95Response: 38,
  });
});

test('I6: the last 100 requests are looked at, and no more are kept', () => {
  for (let failure = 0; failure < 50; failure += 1) statistics.failed();
  for (let request = 0; request < 99; request += 1) answered(10);
  expect(statistics.stats.successRate).toBe(0.99);
  answered(10);
  expect(statistics.stats).toMatchObject({ requests: 150, failures: 50, successRate: 1, meanResponse: 10 });
});

test('the time to recover runs from the first failure in a row to the next answer', async () => {
  answered(1);
  expect(statistics.stats.recovery).toBeNull();
  statistics.failed();
  await clock.turn(700);
  statistics.failed();
  await clock.turn(300);
  expect(statistics.stats.recovery).toBe(1_000);
  answered(1);
  await clock.turn(5_000);
  expect(statistics.stats.recovery).toBe(1_000);
  statistics.failed();
  await clock.turn(200);
  answered(1);
  expect(statistics.stats.recovery).toBe(200);
});

describe('warnings', () => {
  test('a rate of failures above its threshold is told once, and again after it was below', () => {
    for (let request = 0; request < 19; request += 1) answered(1);
    statistics.failed();
    expect(kinds()).toEqual([]); // 5 % is not above 5 %
    statistics.failed();
    expect(statistics.warnings()).toEqual([{ kind: 'failureRate', value: 2 / 21, threshold: 0.05 }].map(near));
    expect(kinds()).toEqual([]);
    for (let request = 0; request < 30; request += 1) answered(1);
    expect(kinds()).toEqual([]);
    for (let failure = 0; failure < 5; failure += 1) statistics.failed();
    expect(kinds()).toEqual(['failureRate']);
  });

  test('of fewer than ten requests nobody is warned', () => {
    for (let request = 0; request < 9; request += 1) statistics.failed();
    expect(kinds()).toEqual([]);
    statistics.failed();
    expect(kinds()).toEqual(['failureRate']);
  });

  test('answers that are slow in the mean', () => {
    for (let request = 0; request < 10; request += 1) answered(5_000);
    expect(kinds()).toEqual([]);
    answered(5_011);
    expect(statistics.warnings()).toEqual([{ kind: 'response', value: 5_001, threshold: 5_000 }]);
  });

  test('an outage that is long is told while it lasts, and so is the next', async () => {
    for (let outage = 0; outage < 2; outage += 1) {
      statistics.failed();
      await clock.turn(60_000);
      statistics.failed();
      expect(kinds()).toEqual([]);
      await clock.turn(1);
      expect(kinds()).toEqual(['recovery']);
      answered(1);
      for (let request = 0; request < 100; request += 1) answered(1); // the failures are out of sight
      expect(kinds()).toEqual([]);
    }
  });
});

function near<T extends { value: number }>(warning: T): T {
  return { ...warning, value: expect.closeTo(warning.value) as unknown as number };
}
