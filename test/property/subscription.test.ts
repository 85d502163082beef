import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Position, parsePosition } from '../../client/protocol/index.js';
import type { StreamEvent, Subscription } from '../../client/subscription/subscription.js';
import { settle } from '../support/fakes.js';
import { runs, seed } from './seed.js';
import { BACKOFF, CHANNEL, FakeGateway } from './wire.js';

const parameters = { seed: seed('subscription'), numRuns: runs(150) };

/** The mark at which a slow loop makes the subscription stand still. */
const QUEUE = 1_000;

interface Plan {
  /** How the application reads: with a callback, with a loop, or with both. */
  readonly reads: 'callback' | 'loop' | 'both';
  readonly since: string | number | undefined;
  /** The events, counted as the application sees them, at which it closes the subscription or the connection drops. */
  readonly closeAt: number | null;
  readonly dropAt: readonly number[];
  /** The step before which somebody else closes it. */
  readonly closeBefore: number | null;
  /** How many events there are: everything that is counted is so many times as much. */
  readonly scale: number;
}

/** An application that holds what it gets against the invariants. */
class Application {
  readonly gateway: FakeGateway;
  readonly subscription: Subscription;
  readonly #plan: Plan;
  /** Where the callback and the loop stand; null until the first `subscribed`. */
  #place: Position | null = null;
  #loopPlace: Position | null = null;
  readonly #resets: Position[] = [];
  #called = 0;
  #looped = 0;
  #allowed = 0;
  #wake = () => {};
  closed = false;
  /** What the loop has found. */
  failure: unknown = null;

  constructor(gateway: FakeGateway, plan: Plan) {
    this.gateway = gateway;
    this.#plan = plan;
    const { reads, since } = plan;
    this.subscription = gateway.client.subscribe(CHANNEL, {
      ...(since === undefined ? {} : { since }),
      ...(reads === 'loop' ? {} : { onEvent: (event) => this.#onEvent(event) }),
      onReset: ({ position }) => this.#onReset(position),
      onState: (state) => {
        expect(this.closed).toBe(false);
        this.closed = state === 'closed';
      },
    });
    this.#start(typeof since === 'string' ? parsePosition(since) : null);
    if (reads === 'callback') return;
    this.#loop().catch((reason: unknown) => {
      this.failure ??= reason;
    });
  }

  /** Where the application stands when it has read everything: after its last event, or after a reset that followed. */
  get stands(): (Position | null)[] {
    const loop = this.#resets.at(-1) ?? this.#loopPlace;
    return { callback: [this.#place], loop: [loop], both: [this.#place, loop] }[this.#plan.reads];
  }

  read(count: number): void {
    this.#allowed += count;
    this.#wake();
  }

  arrive(): void {
    this.gateway.arrive();
    const { told } = this.gateway;
    const { position } = this.subscription;
    if (this.#place !== null || position === null || told === null) return;
    // The first `subscribed` has said where it begins.
    const { since = 'now' } = this.#plan;
    const number = Number(since);
    const newest = Math.max(told.floor - 1, told.head + number);
    const seq = since === 'start' ? told.floor - 1 : since === 'now' ? told.head : number < 0 ? newest : number;
    expect(position).toBe(`${told.epoch}.${seq}`);
    this.#start({ epoch: told.epoch, seq });
  }

  #start(place: Position | null): void {
    this.#place = place;
    this.#loopPlace = place;
  }

  #onEvent(event: StreamEvent): void {
    if (this.closed) throw new Error('I7: an event after close');
    if (!this.gateway.mayDeliver) throw new Error('I4: an event without a subscription');
    const { epoch = '', seq = -1 } = this.#place ?? {};
    this.#place = { epoch, seq: seq + 1 };
    this.#check(event, this.#place);
    this.#called += 1;
    if (this.#plan.reads === 'both' && this.#called - this.#looped > QUEUE + 1)
      throw new Error('I6: the queue is full');
    if (this.#plan.dropAt.includes(this.#called)) this.gateway.drop();
    if (this.#called === this.#plan.closeAt) this.subscription.close();
  }

  #onReset(text: string): void {
    expect(this.closed).toBe(false);
    const position = parsePosition(text);
    if (position === null) throw new Error(`no position: ${text}`);
    this.#place = position;
    this.#resets.push(position);
  }

  /** Reads one event, and one more for each that was allowed. */
  async #loop(): Promise<void> {
    for await (const event of this.subscription) {
      const { epoch = '', seq = -1 } = this.#loopPlace ?? {};
      const next = [{ epoch, seq }, ...this.#resets].findLastIndex(
        (place) => place.seq + 1 === event.seq && `${place.epoch}.${event.seq}` === event.position,
      );
      if (next < 0) throw new Error(`${event.position} after ${epoch}.${seq}`);
      this.#loopPlace = { epoch: next === 0 ? epoch : (this.#resets[next - 1]?.epoch ?? ''), seq: event.seq };
      this.#resets.splice(0, next);
      this.#check(event, this.#loopPlace);
      this.#looped += 1;
      if (this.#plan.reads === 'loop') {
        if (this.#plan.dropAt.includes(this.#looped)) this.gateway.drop();
        if (this.#looped === this.#plan.closeAt) break;
      }
      while (this.#allowed === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      this.#allowed -= 1;
    }
  }

  #check(event: StreamEvent, { epoch, seq }: Position): void {
    const { row, type, position, channel } = event;
    if (event.seq !== seq || row.seq !== seq || row.epoch !== epoch || position !== `${epoch}.${seq}`) {
      throw new Error(`${row.epoch}.${row.seq} came as ${position} where ${epoch}.${seq} comes next`);
    }
    if (channel !== CHANNEL || type !== row.event_type) throw new Error('not as it was written');
  }
}

const some = fc.integer({ min: 1, max: 12 });
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), count: some }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('answer' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('refuse' as const),
      code: fc.constantFrom('unavailable', 'internal', 'later'),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('send' as const), count: some, shift: fc.integer({ min: -9, max: 0 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('skip' as const), count: some, shift: some }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('repeat' as const) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant('arrive' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('drop' as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('connect' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('prune' as const), floor: fc.nat(100) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renumber' as const), head: fc.nat(40) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('end' as const), code: fc.constantFrom('unavailable', 'revoked') }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('read' as const), count: some }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), time: fc.nat(BACKOFF.cap) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

const plan: fc.Arbitrary<Plan> = fc.record({
  reads: fc.constantFrom('callback', 'loop', 'both'),
  since: fc.constantFrom(undefined, 'start', 'now', 0, 3, -3, '-99', '2', 'e1.0', 'e1.7', 'e0.3', 99),
  closeAt: fc.oneof(
    { weight: 3, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 60 }) },
  ),
  closeBefore: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.nat(60) }),
  scale: fc.oneof({ weight: 2, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.constant(300) }),
  dropAt: fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 4 }),
});

async function apply(application: Application, step: Step, scale: number): Promise<void> {
  const { gateway } = application;
  switch (step.do) {
    case 'write':
      gateway.head += step.count * scale;
      return;
    case 'answer':
      return gateway.answer();
    case 'refuse':
      return gateway.answer(step.code);
    case 'send':
    case 'skip':
      return gateway.send(step.count * scale, step.shift);
    case 'repeat':
      return gateway.repeat();
    case 'arrive':
      return application.arrive();
    case 'drop':
      return gateway.drop();
    case 'connect':
      return gateway.connect();
    case 'prune':
      return gateway.prune(step.floor);
    case 'renumber':
      return gateway.renumber(step.head * scale);
    case 'end':
      return gateway.end(step.code);
    case 'read':
      return application.read(Math.ceil((step.count * scale) / 8));
    case 'wait':
      return gateway.clock.turn(step.time);
  }
}

/** Nothing fails any more, and the application reads what comes. */
async function calm(application: Application): Promise<void> {
  const { gateway, subscription } = application;
  application.read(Number.POSITIVE_INFINITY);
  for (let round = 0; round < 200; round += 1) {
    gateway.connect();
    while (gateway.up.length > 0) gateway.answer();
    gateway.send(500);
    while (gateway.down.length > 0) application.arrive();
    await gateway.clock.turn(BACKOFF.cap);
    const quiet = gateway.up.length === 0 && gateway.down.length === 0;
    if (application.closed || (quiet && gateway.after === gateway.head)) return;
  }
  throw new Error(`the application does not come to the head: ${subscription.state} at ${subscription.position}`);
}

test('I1 I2 I3 I4 I6 I7: the application sees each seq once, in order, up to the head, whatever the connection does', async () => {
  await fc.assert(
    fc.asyncProperty(plan, fc.nat(10), fc.array(step, { maxLength: 120, size: 'max' }), async (plan, head, steps) => {
      const gateway = new FakeGateway(head);
      const application = new Application(gateway, plan);
      const { subscription } = application;
      for (const [index, step] of steps.entries()) {
        if (index === plan.closeBefore) subscription.close();
        else await apply(application, step, plan.scale);
        await settle();
        if (application.failure !== null) throw application.failure;
        if (application.closed) expect(gateway.clock.timers).toBe(0);
      }
      await calm(application);
      if (application.failure !== null) throw application.failure;
      if (!application.closed) {
        expect(subscription.state).toBe('live');
        expect(subscription.head).toBe(gateway.head);
        expect(subscription.floor).toBeLessThanOrEqual(gateway.floor); // what was pruned behind it is not told
        for (const place of application.stands) expect(place).toEqual({ epoch: gateway.epoch, seq: gateway.head });
        subscription.close();
      }

      // From here on anything that reaches the application fails it.
      expect([application.closed, gateway.clock.timers]).toEqual([true, 0]);
      subscription.close();
      while (gateway.up.length > 0) gateway.answer();
      gateway.drop();
      gateway.connect();
      expect(gateway.up).toEqual([]);
      gateway.push({
        type: 'events',
        channel: CHANNEL,
        from: gateway.head + 1,
        events: [gateway.row(gateway.head + 1)],
      });
      gateway.push({ type: 'reset', channel: CHANNEL, reason: 'epoch', position: 'e9.1' });
      while (gateway.up.length > 0) gateway.answer();
      while (gateway.down.length > 0) gateway.arrive();
      await gateway.clock.turn(10 * BACKOFF.cap);
      expect([gateway.clock.timers, gateway.up.length]).toEqual([0, 0]);
    }),
    parameters,
  );
});
