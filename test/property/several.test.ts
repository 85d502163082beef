import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Position, parsePosition } from '../../client/protocol/index.js';
import type { StreamEvent, Subscription, SubscriptionState } from '../../client/subscription/subscription.js';
import { settle } from '../support/fakes.js';
import { runs, seed } from './seed.js';
import { BACKOFF, CHANNEL, FakeGateway } from './wire.js';

const HEAD = 60;

/** One of several subscriptions to the channel, which checks everything that it is told. */
class Reader {
  readonly gateway: FakeGateway;
  readonly subscription: Subscription;
  readonly abort = new AbortController();
  readonly #since: string | number;
  readonly #act: (reader: Reader) => void;
  place: Position | null = null;
  events = 0;
  /** What a listener has found: thrown there it would end the run instead of the test. */
  failure: unknown = null;
  state: SubscriptionState = 'waiting';

  /** `act` is called with every fifth event: what the application does in its listener. */
  constructor(gateway: FakeGateway, since: string | number, act: (reader: Reader) => void = () => {}) {
    this.gateway = gateway;
    this.#since = since;
    this.#act = act;
    this.subscription = gateway.client.subscribe(CHANNEL, {
      since,
      signal: this.abort.signal,
      onEvent: (event) => this.#try(() => this.#onEvent(event)),
      onReset: ({ position }) => {
        this.place = parsePosition(position);
      },
      onState: (state) => {
        if (this.state === 'closed') this.failure ??= new Error(`I7: ${state} after closed`);
        this.state = state;
        if (state === 'replaying' && this.place === null) this.#try(() => this.#begin());
      },
    });
  }

  get open(): boolean {
    return this.state !== 'closed';
  }

  #try(task: () => void): void {
    try {
      task();
    } catch (reason) {
      this.failure ??= reason;
    }
  }

  /** Where it begins is what it asked for, in the numbering that the gateway told. */
  #begin(): void {
    const { gateway } = this;
    const { told } = gateway;
    const place = parsePosition(this.subscription.position ?? '');
    if (place === null || told === null) throw new Error('it began nowhere');
    const asked = parsePosition(String(this.#since)) ?? parsePosition(`${place.epoch}.${this.#since}`);
    if (asked !== null) expect(place).toEqual(asked);
    else if (place.epoch === gateway.epoch) {
      if (this.#since === 'start') expect(place.seq).toBeLessThan(gateway.floor);
      else expect(place.seq).toBeLessThanOrEqual(gateway.head);
    }
    this.place = place;
  }

  #onEvent({ seq, position, row }: StreamEvent): void {
    if (this.state !== 'replaying' && this.state !== 'live') throw new Error(`I4: an event while ${this.state}`);
    if (this.place === null) throw new Error('I4: an event before it began');
    const { epoch } = this.place;
    this.place = { epoch, seq: this.place.seq + 1 };
    if (seq !== this.place.seq || row.seq !== seq || row.epoch !== epoch || position !== `${epoch}.${seq}`) {
      throw new Error(`I1 I2 I3: ${row.epoch}.${row.seq} came as ${position} where ${epoch}.${this.place.seq} is next`);
    }
    this.events += 1;
    if (this.events % 5 === 0) this.#act(this);
  }
}

/** Lets everything arrive that is on its way, without further events. */
async function settleWire(gateway: FakeGateway): Promise<void> {
  for (;;) {
    await Promise.resolve();
    if (gateway.up.length === 0 && gateway.down.length === 0) return;
    gateway.answer();
    gateway.arrive();
  }
}

async function deliverAll(gateway: FakeGateway): Promise<void> {
  for (;;) {
    await settleWire(gateway);
    if (gateway.after === null || gateway.after === gateway.head) return;
    gateway.send(1_000);
  }
}

const startOf = (since: string | number) =>
  since === 'start' ? 0 : since === 'now' ? HEAD : Number(parsePosition(String(since))?.seq ?? since);

const placeIn = fc.oneof(
  fc.constantFrom<string | number>('start', 'now'),
  fc.nat(HEAD),
  fc.nat(HEAD).map((seq) => `e1.${seq}`),
);

test.each([2, 50])(
  'I2: of %i subscriptions each is complete, and one `subscribe` is sent each time the lowest place changes',
  async (count) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(placeIn, { minLength: count, maxLength: count }),
        fc.shuffledSubarray([...Array(count).keys()], { minLength: count }),
        async (sinces, order) => {
          const gateway = new FakeGateway(HEAD);
          gateway.connect();
          const readers: Reader[] = [];
          let lowest: number | null = null;
          let expected = 0;
          for (const since of sinces) {
            const place = Math.min(startOf(since), lowest ?? Number.POSITIVE_INFINITY);
            readers.push(new Reader(gateway, since));
            await settleWire(gateway);
            expected += Number(place !== lowest);
            lowest = place;
            expect([gateway.subscribes, gateway.after]).toEqual([expected, lowest]);
          }
          // They leave in another order: all but the last.
          for (const index of order.slice(0, -1)) {
            readers[index]?.abort.abort();
            const place = Math.min(...sinces.filter((_, other) => readers[other]?.open).map(startOf));
            await settleWire(gateway);
            expected += Number(place !== lowest);
            lowest = place;
            expect([gateway.subscribes, gateway.after]).toEqual([expected, lowest]);
          }
          // All begin again, and read to the end.
          const again = sinces.map((since) => new Reader(gateway, since));
          await deliverAll(gateway);
          for (const [index, { place, events, state, failure }] of again.entries()) {
            expect([place?.seq, events, state, failure]).toEqual([
              HEAD,
              HEAD - startOf(sinces[index] ?? 0),
              'live',
              null,
            ]);
          }
          for (const reader of [...readers, ...again]) reader.subscription.close();
          await settleWire(gateway);
          expect([gateway.after, gateway.clock.timers]).toEqual([null, 0]);
        },
      ),
      { seed: seed('several-frames'), numRuns: runs(count === 2 ? 40 : 10) },
    );
  },
);

test('those that are asked for in one turn cost two frames at most: the first, and the lowest', async () => {
  const gateway = new FakeGateway(HEAD);
  gateway.connect();
  const readers = Array.from({ length: 50 }, (_, index) => new Reader(gateway, HEAD - index));
  await deliverAll(gateway);
  expect([gateway.subscribes, ...new Set(readers.map(({ place }) => place?.seq))]).toEqual([2, HEAD]);
  gateway.drop();
  gateway.connect();
  for (const { abort } of readers.slice(0, 20)) abort.abort();
  await deliverAll(gateway);
  expect(gateway.subscribes).toBe(3); // one for all on a new connection
});

const some = fc.integer({ min: 1, max: 12 });
const which = fc.nat(99);
const anywhere = fc.oneof(
  { weight: 4, arbitrary: placeIn },
  { weight: 1, arbitrary: fc.constantFrom<string | number>('e0.3', 'e0.9', 'e2.4', 'e1.75', 99, -2, -50) },
);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('join' as const), since: anywhere, acts: fc.nat(4), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('close' as const, 'abort' as const), which }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), count: some }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('answer' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('refuse' as const) }) },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('send' as const), count: some, shift: fc.integer({ min: -5, max: 0 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('send' as const), count: some, shift: some }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant('arrive' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('drop' as const, 'move' as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('connect' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('prune' as const), floor: fc.nat(90) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renumber' as const), head: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('end' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), time: fc.nat(BACKOFF.cap) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** What an application does in a listener: nothing, leave, make another one leave, have one more, or wait for something. */
const ACTS: ((reader: Reader, readers: Reader[]) => unknown)[] = [
  () => {},
  (reader) => reader.subscription.close(),
  (reader, readers) => readers.find((other) => other !== reader && other.open)?.abort.abort(),
  (reader, readers) => readers.push(new Reader(reader.gateway, 'start')),
  async () => settle(),
];

function apply(gateway: FakeGateway, readers: Reader[], step: Step): void | Promise<void> {
  switch (step.do) {
    case 'join':
      if (readers.filter(({ open }) => open).length >= 12) return;
      readers.push(new Reader(gateway, step.since, (reader) => void ACTS[step.acts]?.(reader, readers)));
      return;
    case 'close':
      return readers[step.which % readers.length]?.subscription.close();
    case 'abort':
      return readers[step.which % readers.length]?.abort.abort();
    case 'write':
      gateway.head += step.count;
      return;
    case 'answer':
      return gateway.answer();
    case 'refuse':
      return gateway.answer('unavailable');
    case 'send':
      return gateway.send(step.count, step.shift);
    case 'arrive':
    case 'drop':
    case 'move':
    case 'connect':
      return gateway[step.do]();
    case 'prune':
      return gateway.prune(step.floor);
    case 'renumber':
      return gateway.renumber(step.head);
    case 'end':
      return gateway.end('unavailable');
    case 'wait':
      return gateway.clock.turn(step.time);
  }
}

test('I1 I2 I3 I4 I7: whatever happens each of them sees each seq once, in order, up to the head; and nothing is asked twice', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(20), fc.array(step, { maxLength: 120, size: 'max' }), async (head, steps) => {
      const gateway = new FakeGateway(head);
      const readers: Reader[] = [];
      gateway.onSubscribe = (stood) => {
        const states = readers.map(({ subscription }) => subscription);
        const places = states
          .filter(({ state }) => state === 'replaying' || state === 'live')
          .map(({ position }) => parsePosition(position ?? ''));
        // A place that the gateway has to judge: not answered yet, or not one that the last reply can serve.
        const { told } = gateway;
        const served = ({ epoch, seq }: Position) =>
          told !== null && epoch === told.epoch && seq >= told.floor - 1 && seq <= Math.max(told.head, stood ?? 0);
        const judged = places.every((place) => place !== null && served(place));
        const asking = !judged || states.some(({ state }) => state === 'subscribing');
        const lowest = Math.min(...places.map((place) => place?.seq ?? -1));
        if (stood !== null && !asking && lowest === stood) throw new Error(`asked again for ${stood}`);
      };
      for (const step of steps) {
        await apply(gateway, readers, step);
        await settle();
        for (const { failure } of readers) if (failure !== null) throw failure;
      }
      for (let round = 0; round < 50; round += 1) {
        gateway.connect();
        await deliverAll(gateway);
        await gateway.clock.turn(BACKOFF.cap);
      }
      for (const { open, place, state, failure } of readers) {
        expect(failure).toBeNull();
        if (open) expect([place, state]).toEqual([{ epoch: gateway.epoch, seq: gateway.head }, 'live']);
      }
      for (const { subscription } of readers) subscription.close();
      await deliverAll(gateway);
      expect([gateway.after, gateway.clock.timers]).toEqual([null, 0]);
    }),
    { seed: seed('several'), numRuns: runs(200) },
  );
});
