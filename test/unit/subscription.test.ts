import { describe, expect, jest, test } from '@jest/globals';
import { RowcastError } from '../../client/ground/error.js';
import type { SubscribeOptions, Subscription, SubscriptionState } from '../../client/subscription/subscription.js';
import { BACKOFF, CHANNEL, FakeGateway } from '../property/wire.js';
import { settle } from '../support/fakes.js';

/** A subscription whose gateway answers at once. */
function subscribe(options: SubscribeOptions, rows: number): { gateway: FakeGateway; subscription: Subscription } {
  const gateway = new FakeGateway(rows);
  gateway.connect();
  return { gateway, subscription: gateway.client.subscribe(CHANNEL, options) };
}

function move(gateway: FakeGateway, count = 10_000): void {
  while (gateway.up.length > 0) gateway.answer();
  gateway.send(count);
  while (gateway.down.length > 0) gateway.arrive();
  while (gateway.up.length > 0) gateway.answer(); // an unsubscribe, perhaps
}

test('asks from where it was told to, then from its last event; live when it has what was there at its start', () => {
  const states: SubscriptionState[] = [];
  const options: SubscribeOptions = { since: 'start', onEvent() {}, onState: (state) => states.push(state) };
  const { gateway, subscription } = subscribe(options, 3);
  const since = () => gateway.up.map(({ request }) => ('since' in request ? request.since : request.type));
  expect(since()).toEqual(['start']);
  move(gateway, 2);
  expect(states).toEqual(['subscribing', 'replaying']);
  gateway.drop();
  gateway.connect();
  expect(since()).toEqual(['e1.2']);
  move(gateway);
  expect(states).toEqual(['subscribing', 'replaying', 'waiting', 'subscribing', 'replaying', 'live']);
  expect(subscription.position).toBe('e1.3');
});

test.each([null, undefined])('since %s is `now`, at the gateway and here', (since) => {
  const seqs: number[] = [];
  const { gateway, subscription } = subscribe({ since, onEvent: ({ seq }) => seqs.push(seq) }, 3);
  expect(gateway.up.map(({ request }) => 'since' in request && request.since)).toEqual(['now']);
  move(gateway);
  expect([subscription.position, subscription.state]).toEqual(['e1.3', 'live']);
  gateway.head += 1;
  move(gateway);
  expect(seqs).toEqual([4]);
});

test('`onEvents` gets what has arrived together, also beside `onEvent`, and nothing after it was closed', () => {
  const batches: number[][] = [];
  const heard: number[] = [];
  const { gateway, subscription } = subscribe(
    {
      since: 'start',
      onEvent: ({ seq }) => heard.push(seq),
      onEvents: (events) => batches.push(events.map(({ seq }) => seq)),
    },
    3,
  );
  move(gateway, 2);
  move(gateway);
  expect([batches, heard]).toEqual([
    [[1, 2], [3]],
    [1, 2, 3],
  ]);
  subscription.on('even', () => subscription.close());
  gateway.head += 1;
  move(gateway);
  expect([batches.length, heard.length]).toEqual([2, 4]);
});

test.each<[number, SubscribeOptions]>([
  [1, { onEvent() {} }],
  [1, { onEvents() {} }],
  [0, { onEvent() {}, onState() {} }],
  [0, {}],
])('a refusal that nobody would hear is said on the console, %i times', (times, options) => {
  const warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
  const { gateway } = subscribe(options, 3);
  gateway.answer('forbidden');
  while (gateway.down.length > 0) gateway.arrive();
  expect(warn.mock.calls.map(([text]) => text)).toEqual(Array(times).fill(`rowcast: ${CHANNEL}:`));
  warn.mockRestore();
});

test('events go to the listeners of their type, until those are taken away', () => {
  const even: number[] = [];
  const { gateway, subscription } = subscribe({ since: 'start', onEvent() {} }, 4);
  const off = subscription.on('even', ({ seq }) => even.push(seq));
  move(gateway);
  expect(even).toEqual([2, 4]);
  off();
  gateway.head += 4;
  move(gateway);
  expect(even).toEqual([2, 4]);
});

test('I9: a subscription that is only listened to with on() never stands still', () => {
  let heard = 0;
  const { gateway, subscription } = subscribe({ since: 'start' }, 3_000);
  for (const type of ['odd', 'even']) {
    subscription.on(type, () => {
      heard += 1;
    });
  }
  move(gateway);
  expect([heard, subscription.state]).toEqual([3_000, 'live']);
});

test('I6: a loop that is slow holds the stream back, also over a new connection, and loses nothing', async () => {
  const { gateway, subscription } = subscribe({ since: 'start' }, 5_000);
  const loop = subscription[Symbol.asyncIterator]();
  move(gateway);
  for (let connections = 0; connections < 3; connections += 1) {
    expect([subscription.state, subscription.position, gateway.after]).toEqual(['waiting', 'e1.1000', null]);
    gateway.drop();
    gateway.connect();
    move(gateway);
  }
  for (let seq = 1; seq <= 5_000; seq += 1) {
    const { value } = await loop.next();
    if (value?.seq !== seq) throw new Error(`${value?.seq} came where ${seq} comes next`);
    move(gateway);
  }
  expect(subscription.state).toBe('live');
});

describe('errors', () => {
  test('one that says stop closes the subscription, and is thrown to its loop', async () => {
    const { gateway, subscription } = subscribe({}, 0);
    const next = subscription[Symbol.asyncIterator]().next();
    gateway.answer('unknown_channel');
    gateway.arrive();
    expect([subscription.state, gateway.clock.timers]).toEqual(['closed', 0]);
    await expect(next).rejects.toMatchObject({ code: 'unknown_channel', message: 'why', retries: false });
  });

  test('one that says retry is followed by another try, each after a longer delay, until one works', async () => {
    const { gateway, subscription } = subscribe({ onEvent() {} }, 0);
    let delay = BACKOFF.base / 2; // the fake draws the middle
    for (let failures = 0; failures < 3; failures += 1) {
      gateway.answer('unavailable');
      gateway.arrive();
      expect([subscription.state, gateway.clock.timers]).toEqual(['waiting', 1]);
      await gateway.clock.turn(delay - 1);
      expect(gateway.up).toHaveLength(0);
      await gateway.clock.turn(1);
      expect(gateway.up).toHaveLength(1);
      delay *= 2;
    }
    move(gateway);
    expect(subscription.state).toBe('live');
    gateway.end('unavailable');
    gateway.arrive();
    await gateway.clock.turn(BACKOFF.base / 2);
    expect(subscription.state).toBe('subscribing');
  });

  test.each(['on subscribe', 'while live'])(
    'I5: a right that is missing, or is lost, closes it for good: %s',
    async (when) => {
      const told: unknown[] = [];
      const onState: SubscribeOptions['onState'] = (state, error) => told.push([state, error?.code, error?.retries]);
      const { gateway, subscription } = subscribe({ since: 'start', onState }, 2);
      const reader = subscription[Symbol.asyncIterator]();
      if (when === 'on subscribe') gateway.answer('forbidden');
      else {
        move(gateway);
        gateway.end('forbidden');
      }
      while (gateway.down.length > 0) gateway.arrive();
      expect([subscription.state, told.at(-1)]).toEqual(['closed', ['closed', 'forbidden', false]]);
      // What came before the right was lost is still to be read.
      if (when === 'while live')
        for (const seq of [1, 2]) expect(await reader.next()).toMatchObject({ value: { seq } });
      await expect(reader.next()).rejects.toMatchObject({ code: 'forbidden' });
      await gateway.clock.turn(60_000);
      gateway.drop();
      gateway.connect();
      expect([gateway.up.length, gateway.clock.timers]).toEqual([0, 0]);
    },
  );

  test('a session that gave up closes its subscriptions with its error', async () => {
    const { gateway, subscription } = subscribe({}, 0);
    const next = subscription[Symbol.asyncIterator]().next();
    const error = new RowcastError('unauthorized');
    gateway.close(error);
    await expect(next).rejects.toBe(error);
    expect(gateway.clock.timers).toBe(0);
  });
});

describe('the listener of an application that throws', () => {
  /** What was thrown past the subscription, instead of ending the test. */
  function reported(): unknown[] {
    const thrown: unknown[] = [];
    jest.spyOn(globalThis, 'queueMicrotask').mockImplementation((task) => {
      try {
        task();
      } catch (error) {
        thrown.push(error);
      }
    });
    return thrown;
  }

  const fault = new Error('of the application');
  const fail = () => {
    throw fault;
  };

  test.each(['onEvent', 'onReset', 'onState'] as const)('%s: it is reported, and stops nothing', (name) => {
    const thrown = reported();
    try {
      const { gateway, subscription } = subscribe({ since: 'e0.1', onEvent() {}, [name]: fail }, 5);
      move(gateway);
      gateway.head += 3;
      move(gateway);
      expect([subscription.state, subscription.position]).toEqual(['live', 'e1.8']);
      expect(thrown.length).toBeGreaterThan(0);
      expect(new Set(thrown)).toEqual(new Set([fault]));
    } finally {
      jest.restoreAllMocks();
    }
  });
});

test('I7: a loop over a subscription that was closed ends at once', async () => {
  const { subscription } = subscribe({ onEvent() {} }, 0);
  subscription.close();
  let ended = false;
  void subscription[Symbol.asyncIterator]()
    .next()
    .then(({ done }) => {
      ended = done === true;
    });
  await settle();
  expect(ended).toBe(true);
});

test('I2: a reset for a reason that this version does not know moves the subscription once', () => {
  const resets: string[] = [];
  const options: SubscribeOptions = { since: 'start', onEvent() {}, onReset: ({ reason }) => resets.push(reason) };
  const { gateway, subscription } = subscribe(options, 3);
  move(gateway, 1);
  gateway.push({ type: 'reset', channel: CHANNEL, reason: 'later' as 'pruned', position: 'e1.2' });
  move(gateway);
  expect(resets).toEqual(['later']);
  expect([subscription.position, gateway.up.length]).toEqual(['e1.3', 0]);
});

test('I2: a loop that begins after `on` has dropped events from the queue is refused', () => {
  const { gateway, subscription } = subscribe({ since: 'start' }, 3);
  move(gateway);
  subscription.on('log', () => {});
  expect(() => subscription[Symbol.asyncIterator]()).toThrow('events were delivered already');
});

test('I4: a listener that closes the subscription is the last one that gets the event', () => {
  const seen: string[] = [];
  const { gateway, subscription } = subscribe({ since: 'start', onEvent: () => subscription.close() }, 3);
  const { event_type } = gateway.row(1);
  subscription.on(String(event_type), () => seen.push('on'));
  move(gateway);
  expect(seen).toEqual([]);
});
