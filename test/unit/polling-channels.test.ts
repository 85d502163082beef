import { beforeEach, expect, test } from '@jest/globals';
import { Channels, type StateOf, stateOfExecution } from '../../client/polling/channels.js';
import type { Frame, Row } from '../../client/protocol/index.js';

const INTERVALS = { interval: 2_000, running: 1_000, pending: 10_000 };
const [A, B, C] = ['execution:a', 'execution:b', 'message:c'];

let channels: Channels;

beforeEach(() => {
  channels = new Channels(INTERVALS, stateOfExecution);
});

function see(channel: string, ...types: string[]): void {
  seeRows(channel, ...types.map((event_type) => ({ event_type })));
}

function seeRows(channel: string, ...events: Row[]): void {
  channels.see({ type: 'events', channel, from: 1, events });
}

function subscribed(channel: string, head: number): Frame {
  return { type: 'subscribed', id: 1, channel, epoch: 'e', head, floor: 1 };
}

test('a channel that says nothing of a state is asked for at the interval', () => {
  see(A, 'log');
  see(C, 'execution-completed');
  channels.see(subscribed(C, 0));
  expect([A, C].map((channel) => channels.interval([channel]))).toEqual([2_000, 2_000]);
});

test('the events of an execution tell its state; one without events is pending', () => {
  const after = (...types: string[]) => {
    channels = new Channels(INTERVALS, stateOfExecution);
    channels.see(subscribed(A, 0));
    see(A, ...types);
    return channels.interval([A]);
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
  channels.see(subscribed(A, 7));
  expect(channels.interval([A])).toBe(2_000);
});

test('of several channels the one that wants to be asked most often decides; what is finished wants nothing', () => {
  channels.see(subscribed(A, 0));
  see(B, 'execution-started');
  expect(channels.interval([A, B])).toBe(1_000);
  see(B, 'execution-failed');
  expect(channels.interval([A, B])).toBe(10_000);
  expect(channels.interval([A, B, C])).toBe(2_000);
  expect(channels.interval([B])).toBeNull();
  expect(channels.interval([])).toBeNull();
});

test('what is finished is asked for until it was read up to its head, and again after a new subscribe', () => {
  channels.owe(A);
  see(A, 'execution-completed');
  channels.settle([subscribed(A, 9)], { [A]: 'e.8' }, [A]);
  expect([channels.owed, channels.asks(A), channels.interval([A])]).toEqual([true, true, 2_000]);
  channels.settle([subscribed(A, 9)], { [A]: 'e.9' }, [A]);
  expect([channels.owed, channels.asks(A), channels.interval([A])]).toEqual([false, false, null]);
  channels.owe(A);
  expect(channels.asks(A)).toBe(true);
});

test('a channel is owed while it is not read up to its head, or still being opened', () => {
  channels.settle([subscribed(C, 9)], { [C]: 'start' }, [C]);
  expect(channels.owed).toBe(true);
  channels.settle([], {}, [C]);
  expect(channels.owed).toBe(true);
  channels.settle([subscribed(C, 9)], { [C]: 'e.10' }, [C]);
  expect(channels.owed).toBe(false);
});

test('I6: nothing is kept of a channel that was left', () => {
  see(A, 'execution-completed');
  channels.owe(B);
  channels.settle([], {}, []);
  expect([channels.owed, channels.asks(A)]).toEqual([false, true]);
});

test('what is finished may be doubted', () => {
  see(A, 'execution-completed');
  see(B, 'execution-started');
  channels.doubt();
  expect([channels.interval([A]), channels.interval([B])]).toEqual([2_000, 1_000]);
});

test('the application may read the state from its own rows', () => {
  const stateOf: StateOf = (row) => (row?.status === 'done' ? 'finished' : undefined);
  channels = new Channels(INTERVALS, stateOf);
  seeRows('jobs:1', { status: 'begun' });
  expect(channels.interval(['jobs:1'])).toBe(2_000);
  seeRows('jobs:1', { status: 'done' });
  expect(channels.interval(['jobs:1'])).toBeNull();
});
