import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type Client, clientOver } from '../../client/client.js';
import { Backoff } from '../../client/ground/backoff.js';
import type { SessionState } from '../../client/session/connection.js';
import { Session } from '../../client/session/session.js';
import type { StreamEvent } from '../../client/subscription/subscription.js';
import { CHANNEL, FakeGateway } from '../property/wire.js';
import { FakeClock, FakeEnvironment, FakeRung, settle } from '../support/fakes.js';

describe('several subscriptions to one channel', () => {
  let gateway: FakeGateway;
  const move = async () => {
    for (let round = 0; round < 10; round += 1) {
      await settle();
      while (gateway.up.length > 0) gateway.answer();
      gateway.send(10_000);
      while (gateway.down.length > 0) gateway.arrive();
    }
  };
  const sinces = () => gateway.up.map(({ request }) => ('since' in request ? request.since : '-'));
  const collect = (seqs: number[]) => (event: StreamEvent) => void seqs.push(event.seq);

  beforeEach(() => {
    gateway = new FakeGateway(5);
    gateway.connect();
  });

  test('one that begins at the start while the others are live gets everything, and they nothing twice', async () => {
    const [live, late]: [number[], number[]] = [[], []];
    const states: string[] = [];
    const first = gateway.client.subscribe(CHANNEL, { onEvent: collect(live), onState: (state) => states.push(state) });
    await move();
    gateway.client.subscribe(CHANNEL, { since: 'start', onEvent: collect(late) });
    await settle();
    expect(sinces()).toEqual(['-', 'start']);
    gateway.head += 1;
    await move();
    expect([live, late]).toEqual([[6], [1, 2, 3, 4, 5, 6]]);
    // The wire subscription went back for the other one, which is no event for this one.
    expect([states, first.state]).toEqual([['subscribing', 'replaying', 'live'], 'live']);
  });

  test('`now` is known while another one is live: nothing is asked, and nothing is told before subscribe has returned', async () => {
    gateway.client.subscribe(CHANNEL, { onEvent() {} });
    await move();
    const told: string[] = [];
    const seqs: number[] = [];
    const second = gateway.client.subscribe(CHANNEL, {
      onEvent: collect(seqs),
      onState: (state) => told.push(`${state} ${second.position}`),
    });
    expect(told).toEqual([]);
    await settle();
    expect([gateway.up, told]).toEqual([[], ['subscribing null', 'replaying e1.5', 'live e1.5']]);
    gateway.head += 1;
    await move();
    expect(seqs).toEqual([6]);
  });

  test('listeners of `connected` may subscribe and close: the channel is asked for once', async () => {
    gateway.drop();
    const seqs: number[] = [];
    const subscribe = () => gateway.client.subscribe(CHANNEL, { since: 3, onEvent: collect(seqs) });
    const [first, second] = [subscribe(), subscribe()];
    const stop = gateway.client.watch((state) => {
      if (state === 'connected') first.close();
    });
    gateway.connect();
    expect(sinces()).toEqual(['3']);
    await move();
    expect([second.state, seqs.splice(0)]).toEqual(['live', [4, 5]]);
    stop();
    second.close();
    await move();
    gateway.drop();
    let late = second;
    gateway.client.watch(() => {
      if (late === second) late = subscribe();
    });
    gateway.connect();
    expect(sinces()).toEqual(['3']);
    await move();
    expect([late.state, seqs]).toEqual(['live', [4, 5]]);
  });

  test('the channel is left when the last one is closed, and not before', async () => {
    const subscriptions = [0, 1, 2].map(() => gateway.client.subscribe(CHANNEL, { onEvent() {} }));
    await move();
    for (const subscription of subscriptions) {
      expect(sinces()).toEqual([]);
      subscription.close();
      subscription.close();
    }
    expect(sinces()).toEqual(['-']);
  });

  test('a refusal for now is told to all, and tried again once for all; one for good closes all', async () => {
    const errors: string[] = [];
    const onState = (state: string, error?: { code: string }) => error && errors.push(`${state} ${error.code}`);
    for (const since of ['start', 'e1.2', 'now']) gateway.client.subscribe(CHANNEL, { since, onEvent() {}, onState });
    gateway.answer('unavailable');
    gateway.arrive();
    expect(errors.splice(0)).toEqual(Array(3).fill('waiting unavailable'));
    // One that joins waits with the others: it does not cut the delay short.
    const late = gateway.client.subscribe(CHANNEL, { since: 'start', onEvent() {}, onState });
    await settle();
    expect([late.state, gateway.up, gateway.clock.timers]).toEqual(['waiting', [], 1]);
    late.close();
    await gateway.clock.turn(1_000);
    expect(sinces()).toEqual(['start']);
    gateway.answer('forbidden');
    gateway.arrive();
    expect([errors, gateway.up.length, gateway.clock.timers]).toEqual([Array(3).fill('closed forbidden'), 0, 0]);
  });

  test('a stream that cannot be read: also one that joins is told, and the end of it on another transport', async () => {
    const told: string[] = [];
    const subscribe = (name: string) => {
      const onState = (state: string, error?: { code: string }) => told.push(`${name} ${state} ${error?.code ?? ''}`);
      gateway.client.subscribe(CHANNEL, { onEvent() {}, onState });
    };
    subscribe('one');
    await move();
    told.length = 0;
    gateway.push({ type: 'stalled', channel: CHANNEL, code: 'stream_unreadable' });
    subscribe('two');
    await move();
    expect(told.splice(0)).toEqual([
      'one live stream_unreadable',
      'two subscribing ',
      'two replaying ',
      'two live ',
      'two live stream_unreadable',
    ]);
    gateway.move();
    await move();
    expect(told.splice(0)).toEqual(['one live ', 'two live ']);
    gateway.push({ type: 'stalled', channel: CHANNEL, code: 'stream_unreadable' });
    told.length = 0;
    gateway.head += 1;
    await move();
    expect(told).toEqual(['one live ', 'two live ']);
  });

  test('a since that is none closes its subscription alone', async () => {
    const seqs: number[] = [];
    const wrong = gateway.client.subscribe(CHANNEL, { since: 'never', onState() {} });
    gateway.client.subscribe(CHANNEL, { since: 3, onEvent: collect(seqs) });
    await move();
    expect([wrong.state, seqs]).toEqual(['closed', [4, 5]]);
  });

  test('each has its own signal; one that is aborted already begins nothing', async () => {
    const [one, other] = [new AbortController(), new AbortController()];
    const open = (signal: AbortSignal) => gateway.client.subscribe(CHANNEL, { onEvent() {}, signal });
    const [first, second] = [open(one.signal), open(other.signal)];
    await move();
    one.abort();
    expect([first.state, second.state]).toEqual(['closed', 'live']);
    expect([open(one.signal).state, sinces()]).toEqual(['closed', []]);
    second.close();
    const removed = jest.spyOn(other.signal, 'removeEventListener');
    const third = open(other.signal);
    third.close();
    expect(removed).toHaveBeenCalledTimes(1); // I7
  });

  test('I6: a slow loop stands still, and the others do not', async () => {
    gateway.head = 5_000;
    const seqs: number[] = [];
    const slow = gateway.client.subscribe(CHANNEL, { since: 'start' });
    const loop = slow[Symbol.asyncIterator]();
    gateway.client.subscribe(CHANNEL, { since: 'start', onEvent: collect(seqs) });
    await move();
    expect([slow.state, slow.position, seqs.length]).toEqual(['waiting', 'e1.1000', 5_000]);
    for (let seq = 1; seq <= 5_000; seq += 1) {
      const { value } = await loop.next();
      if (value?.seq !== seq) throw new Error(`${value?.seq} came where ${seq} comes next`);
      if (seq % 450 === 0) await move();
    }
    expect(seqs).toHaveLength(5_000);
  });

  test('a listener that throws, or returns a promise, stops neither its own stream nor that of another one', async () => {
    const thrown: unknown[] = [];
    const spy = jest.spyOn(globalThis, 'queueMicrotask').mockImplementation((task) => {
      void Promise.resolve()
        .then(task)
        .catch((reason: unknown) => thrown.push(reason));
    });
    const seqs: number[] = [];
    const fail = () => {
      throw new Error('of the application');
    };
    gateway.client.subscribe(CHANNEL, { since: 'start', onEvent: fail });
    gateway.client.subscribe(CHANNEL, { since: 'start', onEvent: async () => settle() });
    gateway.client.subscribe(CHANNEL, { since: 'start', onEvent: collect(seqs) });
    await move();
    spy.mockRestore();
    expect([seqs, thrown.length]).toEqual([[1, 2, 3, 4, 5], 5]);
  });
});

describe('the connection, as it is watched', () => {
  let clock: FakeClock;
  let rung: FakeRung;
  let environment: FakeEnvironment;
  let client: Client;
  let states: SessionState[];

  beforeEach(() => {
    clock = new FakeClock();
    rung = new FakeRung();
    environment = new FakeEnvironment();
    states = [];
    client = clientOver(
      (events) =>
        new Session({
          rungs: [rung],
          token: async () => undefined,
          clock,
          backoff: new Backoff({ base: 8_000, cap: 8_000 }, () => 1), // always the longest delay
          environment,
          events,
        }),
      (state) => states.push(state),
    );
  });

  const greet = async (after = 0) => {
    await clock.turn(0);
    rung.last.events.onOpen();
    await clock.turn(after);
    const { id } = rung.last.sent[0] ?? {};
    rung.last.receive(JSON.stringify({ type: 'connected', id, session: 's', heartbeat: 25_000, limits: {} }));
  };

  test('any number of listeners is told of each change, until it is taken away', async () => {
    const [one, other]: [string[], string[]] = [[], []];
    const listener = (state: SessionState, error?: { code: string }) => one.push([state, error?.code].join(' '));
    const stop = [client.watch(listener), client.watch(listener), client.watch((state) => other.push(state))];
    client.subscribe('message:a');
    await greet();
    expect(one).toEqual(['connecting ', 'connecting ', 'connected ', 'connected ']); // added twice, told twice
    stop[0]?.();
    stop[0]?.();
    rung.last.events.onClose(1006, '');
    expect(one.slice(4)).toEqual(['waiting unavailable']);
    stop[1]?.();
    client.close();
    expect([one.length, other, states]).toEqual([5, states, ['connecting', 'connected', 'waiting', 'closed']]);
  });

  test('a listener that closes the client, or removes another one: no state follows `closed`', async () => {
    const [kept, removed]: [string[], string[]] = [[], []];
    client.watch((state) => {
      if (state === 'connected') client.close();
      if (state === 'connecting') stop();
    });
    client.watch((state) => kept.push(state));
    const stop = client.watch((state) => removed.push(state));
    client.subscribe('message:a');
    await greet();
    expect([kept, removed]).toEqual([['connecting', 'closed'], []]);
  });

  test('when data came, how long a reply took, and when the next attempt is due', async () => {
    const health = () => [client.heardAt, client.roundTrip, client.retryAt];
    expect(health()).toEqual([null, null, null]);
    client.subscribe('message:a');
    await greet(40);
    const heard = clock.now();
    expect(health()).toEqual([heard, 40, null]);
    await clock.turn(3_000);
    rung.last.events.onClose(1006, '');
    expect(health()).toEqual([heard, 40, clock.now() + 8_000]);
    environment.hint();
    expect(client.retryAt).toBe(clock.now());
    await clock.turn(0);
    expect([client.state, ...health()]).toEqual(['connecting', heard, 40, null]);
  });

  test('reconnect: a delay is cut short, once a second, and none that the gateway has asked for', async () => {
    client.subscribe('message:a');
    await greet();
    await clock.turn(3_000);
    rung.last.events.onClose(1006, '');
    client.reconnect();
    await clock.turn(0);
    expect([client.state, rung.links.length]).toEqual(['connecting', 2]);
    for (let click = 0; click < 30; click += 1) {
      rung.last.events.onClose(1006, '');
      client.reconnect();
      await clock.turn(100);
    }
    expect(rung.links.length).toBeLessThanOrEqual(5);
    while (client.state !== 'connecting') await clock.turn(100);
    rung.last.events.onOpen();
    const { id } = rung.last.sent[0] ?? {};
    rung.last.receive(JSON.stringify({ type: 'error', id, code: 'rate_limited', message: '', retryAfter: 20_000 }));
    const [links] = [rung.links.length];
    client.reconnect();
    await clock.turn(19_999);
    expect(rung.links).toHaveLength(links);
  });

  test('reconnect: a connection that stands is left for a new one', async () => {
    client.subscribe('message:a');
    await greet();
    await clock.turn(3_000);
    const [old] = rung.links;
    client.reconnect();
    expect([old?.closed, client.state, client.transport]).toEqual([true, 'waiting', null]);
    await greet();
    expect([rung.links.length, client.state]).toEqual([2, 'connected']);
    client.close();
    client.reconnect();
    await clock.turn(60_000);
    expect([rung.links.length, client.state, clock.timers]).toEqual([2, 'closed', 0]);
  });
});
