import { beforeEach, expect, test } from '@jest/globals';
import { Pacing, type StateOf } from '../../client/polling/pacing.js';
import { stateOfExecution } from '../../client/progress/activity.js';
import type { Frame, Row } from '../../client/protocol/index.js';

const INTERVALS = { interval: 2_000, running: 1_000, pending: 10_000 };
const [A, B, C] = ['execution:a', 'execution:b', 'message:c'];

let pacing: Pacing;

beforeEach(() => {
  pacing = new Pacing(INTERVALS, stateOfExecution);
});

function see(channel: string, ...types: string[]): void {
  seeRows(channel, ...types.map((event_type) => ({ event_type })));
}

function seeRows(channel: string, ...events: Row[]): void {
  pacing.observe({ type: 'events', channel, from: 1, events });
}

function subscribed(channel: string, head: number): Frame {
  return { type: 'subscribed', id: 1, channel, epoch: 'e', head, floor: 1 };
}

test('a channel that says nothing of a state is asked for at the interval', () => {
  see(A, 'log');
  see(C, 'execution-completed');
  pacing.observe(subscribed(C, 0));
  expect([A, C].map((channel) => pacing.interval([channel]))).toEqual([2_000, 2_000]);
});

test('the events of an execution tell its state; one without events is pending', () => {
  const after = (...types: string[]) => {
    pacing = new Pacing(INTERVALS, stateOfExecution);
    pacing.observe(subscribed(A, 0));
    see(A, ...types);
    return pacing.interval([A]);
  };
  expect(after()).toBe(10_000);
  expect(after('log')).toBe(10_000);
  expect(after('execution-started')).toBe(1_000);
  expect(after('execution-started', 'execution-paused')).toBe(10_000);
  expect(after('execution-paused', 'execution-resumed', 'log')).toBe(1_000);
  for (const end of ['completed', 'failed', 'cancelled'])
    expect(after('execution-started', `execution-${end}`, 'metrics-update')).toBeNull();
  expect(after('execution-completed', 'execution-started')).toBe(1_000);
});

test('a channel with events is not pending only because it was subscribed to', () => {
  pacing.observe(subscribed(A, 7));
  expect(pacing.interval([A])).toBe(2_000);
});

test('of several pacing the one that wants to be asked most often decides; what is finished wants nothing', () => {
  pacing.observe(subscribed(A, 0));
  see(B, 'execution-started');
  expect(pacing.interval([A, B])).toBe(1_000);
  see(B, 'execution-failed');
  expect(pacing.interval([A, B])).toBe(10_000);
  expect(pacing.interval([A, B, C])).toBe(2_000);
  expect(pacing.interval([B])).toBeNull();
  expect(pacing.interval([])).toBeNull();
});

test('what is finished is asked for until it was read up to its head, and again after a new subscribe', () => {
  pacing.subscribed(A);
  see(A, 'execution-completed');
  pacing.settle([subscribed(A, 9)], { [A]: 'e.8' }, [A]);
  expect([pacing.behind, pacing.includes(A), pacing.interval([A])]).toEqual([true, true, 2_000]);
  pacing.settle([subscribed(A, 9)], { [A]: 'e.9' }, [A]);
  expect([pacing.behind, pacing.includes(A), pacing.interval([A])]).toEqual([false, false, null]);
  pacing.subscribed(A);
  expect(pacing.includes(A)).toBe(true);
});

test('a channel is owed while it is not read up to its head, or still being opened', () => {
  pacing.settle([subscribed(C, 9)], { [C]: 'start' }, [C]);
  expect(pacing.behind).toBe(true);
  pacing.settle([], {}, [C]);
  expect(pacing.behind).toBe(true);
  pacing.settle([subscribed(C, 9)], { [C]: 'e.10' }, [C]);
  expect(pacing.behind).toBe(false);
});

test('I6: nothing is kept of a channel that was left', () => {
  see(A, 'execution-completed');
  pacing.subscribed(B);
  pacing.settle([], {}, []);
  expect([pacing.behind, pacing.includes(A)]).toEqual([false, true]);
});

test('what is finished may be doubted', () => {
  see(A, 'execution-completed');
  see(B, 'execution-started');
  pacing.recheck();
  expect([pacing.interval([A]), pacing.interval([B])]).toEqual([2_000, 1_000]);
});

test('the application may read the state from its own rows', () => {
  const stateOf: StateOf = (row) => (row?.status === 'done' ? 'finished' : undefined);
  pacing = new Pacing(INTERVALS, stateOf);
  seeRows('jobs:1', { status: 'begun' });
  expect(pacing.interval(['jobs:1'])).toBe(2_000);
  seeRows('jobs:1', { status: 'done' });
  expect(pacing.interval(['jobs:1'])).toBeNull();
});
