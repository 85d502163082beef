import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { EventsFrame } from '../../server/ports/events-frame.js';
import { type PollPhase, PollTransport } from '../../server/transport/poll.js';

const WAIT = 20_000;
/** In bytes. */
const FULL = 1_000;

let transport: PollTransport;
let finished: number;
let behind: boolean;

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['queueMicrotask', 'nextTick'] });
  finished = 0;
  behind = false;
  transport = new PollTransport({ bytes: FULL, wait: WAIT, replies: true }, () => {
    finished += 1;
  });
  transport.behind = () => behind;
});

const turn = () => Promise.resolve();
const events = (bytes: number) => transport.send(new EventsFrame(1, 1, 'x'.repeat(bytes)));
const subscribed = { type: 'subscribed', id: 2, channel: 'a:1', epoch: 'e', head: 1, floor: 1 } as const;

const LEAD: Record<PollPhase, () => void> = {
  answering: () => {},
  waiting: () => transport.answered(),
  ready() {
    behind = true;
    transport.answered();
    events(1);
  },
  finished: () => transport.gone(),
};

type Event =
  | 'a quiet reply'
  | 'an error'
  | 'events'
  | 'events, and the response is full'
  | 'all commands are answered'
  | 'the wait is over'
  | 'all is read'
  | 'the deadline'
  | 'paused'
  | 'the connection is closed'
  | 'not wanted';

const DO: Record<Event, () => void> = {
  'a quiet reply': () => transport.send(subscribed),
  'an error': () => transport.send({ type: 'error', id: 2, code: 'forbidden', message: '' }),
  events: () => events(1),
  'events, and the response is full': () => events(FULL),
  'all commands are answered': () => transport.answered(),
  'the wait is over': () => jest.advanceTimersByTime(WAIT - 1),
  'all is read': () => {
    behind = false;
    transport.send(subscribed);
  },
  'the deadline': () => {
    behind = true;
    jest.advanceTimersByTime(WAIT);
  },
  paused: () => transport.send({ type: 'paused', code: 'token_expired' }),
  'the connection is closed': () => transport.close(4001, ''),
  'not wanted': () => transport.gone(),
};

/** The phase that follows; `-`: the same; `sent`: finished, and the response is sent. What is missing does not compile. */
const TABLE: Record<PollPhase, Record<Event, PollPhase | 'sent' | '-'>> = {
  answering: {
    'a quiet reply': '-',
    'an error': '-',
    events: '-',
    'events, and the response is full': 'sent',
    'all commands are answered': 'waiting',
    'the wait is over': '-',
    'all is read': '-',
    'the deadline': '-',
    paused: 'sent',
    'the connection is closed': 'sent',
    'not wanted': 'finished',
  },
  waiting: {
    'a quiet reply': '-',
    'an error': 'sent',
    events: 'sent',
    'events, and the response is full': 'sent',
    'all commands are answered': '-',
    'the wait is over': '-',
    'all is read': '-',
    'the deadline': 'sent',
    paused: 'sent',
    'the connection is closed': 'sent',
    'not wanted': 'finished',
  },
  ready: {
    'a quiet reply': '-',
    'an error': '-',
    events: '-',
    'events, and the response is full': 'sent',
    'all commands are answered': '-',
    'the wait is over': '-',
    'all is read': 'sent',
    'the deadline': 'sent',
    paused: 'sent',
    'the connection is closed': 'sent',
    'not wanted': 'finished',
  },
  finished: {
    'a quiet reply': '-',
    'an error': '-',
    events: '-',
    'events, and the response is full': '-',
    'all commands are answered': '-',
    'the wait is over': '-',
    'all is read': '-',
    'the deadline': '-',
    paused: '-',
    'the connection is closed': '-',
    'not wanted': '-',
  },
};

const cases = Object.entries(TABLE).flatMap(([phase, row]) =>
  Object.entries(row).map(([event, outcome]) => [phase, event, outcome] as [PollPhase, Event, string]),
);

describe('each phase and each event', () => {
  test.each(cases)('%s, %s: %s', async (phase, event, outcome) => {
    LEAD[phase]();
    await turn();
    expect(transport.phase).toBe(phase);
    DO[event]();
    await turn();
    const expected = outcome === '-' ? phase : outcome === 'sent' ? 'finished' : outcome;
    expect([transport.phase, finished]).toEqual([expected, Number(outcome === 'sent')]);
    // I6, I7: once, and no timer remains.
    if (transport.phase === 'finished') expect(jest.getTimerCount()).toBe(0);
  });
});

test('without news it is sent when the wait is over, with news as soon as the commands are answered', async () => {
  transport.answered();
  jest.advanceTimersByTime(WAIT);
  await turn();
  expect(finished).toBe(1);
  const other = new PollTransport({ bytes: FULL, wait: WAIT, replies: false }, () => {
    finished += 1;
  });
  other.send(subscribed);
  other.send(new EventsFrame(1, 1, 'x'));
  other.answered();
  await turn();
  expect([finished, other.frames.length]).toEqual([2, 1]);
});
