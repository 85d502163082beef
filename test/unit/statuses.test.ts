import { expect, test } from '@jest/globals';
import { following, isFinished, mayFollow, STATUSES } from '../../client/progress/index.js';

test('every state that may follow is a state, the finished ones are followed by none, and all can be reached', () => {
  expect(STATUSES).toEqual(['pending', 'running', 'paused', 'completed', 'failed', 'cancelled']);
  expect(STATUSES.filter(isFinished)).toEqual(['completed', 'failed', 'cancelled']);
  const reached = new Set(STATUSES.flatMap((from) => following[from] as readonly string[]));
  expect([...reached].sort()).toEqual(STATUSES.filter((status) => status !== 'pending').sort());
});

test('the same state again is no change; nothing else follows itself or a finished one', () => {
  for (const from of STATUSES) {
    expect(mayFollow(from, from)).toBe(true);
    expect((following[from] as readonly string[]).includes(from)).toBe(false);
    for (const to of STATUSES) if (isFinished(from) && to !== from) expect(mayFollow(from, to)).toBe(false);
  }
  expect(mayFollow('paused', 'completed')).toBe(false);
  expect(mayFollow('pending', 'paused')).toBe(false);
});
