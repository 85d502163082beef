import { expect, test } from '@jest/globals';
import { predict } from '../../server/engine/health.js';

const agent = (agent_type: string, mean_ms: number | null, slots: number) => ({
  agent_type,
  mean_ms,
  slots,
  enabled: true,
  open: 1,
  running: 0,
  failed: 0,
  waits: 0,
  workers: 1,
});
const task = (name: string, agent_type: string, needs: string[] = [], ran_ms = 0) => ({
  name,
  agent_type,
  needs,
  ran_ms,
  kind: 'agent',
  status: ran_ms > 0 ? 'running' : 'blocked',
  optional: false,
});
const seconds = (end: Readonly<Record<'low' | 'expected' | 'high', string>> | null) =>
  end && [end.low, end.expected, end.high].map((text) => Date.parse(text) / 1_000);

test('the end is that of the critical path, less what a running task has run already', () => {
  const open = [task('a', 'slow', [], 4_000), task('b', 'slow', ['a']), task('c', 'quick')];
  const { path, end } = predict(open, [agent('slow', 10_000, 4), agent('quick', 1_000, 1)], 0);
  expect(path).toEqual(['a', 'b']);
  expect(seconds(end)).toEqual([16, 16, 20]);
});

test('work that waits for slots takes longer than the critical path', () => {
  const open = ['a', 'b', 'c', 'd'].map((name) => task(name, 'one'));
  expect(seconds(predict(open, [agent('one', 10_000, 2)], 0).end)).toEqual([10, 20, 30]);
});

test('a type that was not measured takes as long as the others do; without any measurement nothing is predicted', () => {
  expect(seconds(predict([task('a', 'new')], [agent('new', null, 1), agent('old', 3_000, 1)], 0).end)).toEqual([
    3, 3, 6,
  ]);
  expect(predict([task('a', 'new')], [agent('new', null, 1)], 0)).toEqual({ path: ['a'], end: null });
  expect(predict([], [agent('old', 3_000, 1)], 0).end).toBeNull();
});
