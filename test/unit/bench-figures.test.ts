/** The arithmetic of the benchmark: what is made of the figures of turns. */
import { expect, test } from '@jest/globals';
import { median, quantile, Results, type Turn } from '../bench/harness/figures.js';
import type { Must } from '../bench/harness/scenario.js';
import { type Costs, sizeOf } from '../bench/report/costs.js';
import { short, verdictOf } from '../bench/report/text.js';

const turn = (system: string, round: number, rate: number): Turn => ({
  system,
  shape: 's',
  round,
  figures: { rate },
  cores: {},
});

test('a ratio is that of the rounds, so that a round in which both were slow does not count', () => {
  const turns = [
    turn('a', 0, 10),
    turn('b', 0, 5),
    turn('a', 1, 2),
    turn('b', 1, 1),
    turn('a', 2, 30),
    turn('b', 2, 10),
  ];
  expect(new Results(turns).ratio(['a', 's'], ['b', 's'], 'rate')).toBe(2);
  expect(new Results(turns).median('a', 's', 'rate')).toBe(10);
  expect(new Results(turns).ratio(['a', 's'], ['missing', 's'], 'rate')).toBeNaN();
});

test('medians and quantiles', () => {
  expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([Number.NaN, 7])]).toEqual([2, 2.5, 7]);
  expect([quantile([1, 2, 3, 4], 0.5), quantile([1, 2, 3, 4], 0.99), quantile([], 0.5)]).toEqual([3, 4, Number.NaN]);
});

test.each([
  ['more', 9, 'missed'],
  ['more', 10, 'floor'],
  ['more', 20, 'aim'],
  ['less', 20, 'floor'],
  ['less', 21, 'missed'],
  ['less', 10, 'aim'],
] as const)('where %s is better, %d is %s', (better, value, verdict) => {
  const [floor, aim] = better === 'more' ? [10, 20] : [20, 10];
  expect(verdictOf({ figure: '', value, floor, aim, better } satisfies Must)).toBe(verdict);
});

test('numbers have three digits that count, and no exponent', () => {
  expect([0.01234, 1.005, 12.345, 123.4, 1_234_567].map(short)).toEqual(['0.0123', '1', '12.3', '123', '1,234,567']);
});

test('a size: deliveries divide among gateways, what each reads does not', () => {
  const costs: Costs = {
    alone: 10,
    batched: 1,
    perKb: 2,
    webSocketKb: 10.24,
    eventStreamKb: 20,
    open: 1,
    empty: 90,
    inserted: 200,
    read: 100,
    followed: 500,
    history: 5,
    historyRead: 5,
  };
  const demand = { events: 100, readers: 1000, bytes: 1024, connections: 10_000 };
  const [one, ten] = [sizeOf(costs, { ...demand, gateways: 1 }), sizeOf(costs, { ...demand, gateways: 10 })];
  expect(one).toMatchObject({ deliveries: 100_000, network: 102.4, databaseConnections: 15, memory: 190, needed: 3 });
  expect(one.cores).toBeCloseTo(1.25);
  expect(ten.cores).toBeCloseTo(1.7);
  expect([one.inserts, one.reads, ten.reads]).toEqual([0.02, 0.01, 0.1]);
  expect([one.reconnect, ten.reconnect, ten.memory]).toEqual([10, 1, 100]);
});
