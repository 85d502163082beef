import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Backoff } from '../../client/backoff.js';
import { clientOver } from '../../client/client.js';
import { type Command, parsePosition } from '../../client/protocol/index.js';
import { Session } from '../../client/session.js';
import type { Subscription } from '../../client/subscription.js';
import type { Link, LinkEvents, Rung, TransportName } from '../../client/transport/rung.js';
import { Connection } from '../../server/connection/connection.js';
import { FakeEnvironment, FakeLink, FakeTransport, type LoggedRow, settle, silent } from '../support/fakes.js';
import { anybody, World } from './clients.js';
import { seed } from './seed.js';

const parameters = { seed: seed('moves'), numRuns: 200 };
const CHANNELS = ['message:a', 'message:b', 'message:c'];
const NAMES: readonly TransportName[] = ['websocket', 'sse', 'poll'];

/** What the way lets through: all, nothing at all, or what is answered at once but nothing that comes later. */
type Mood = 'open' | 'refuses' | 'hangs' | 'buffers';

/** A link to a real connection, with frames on their way down that arrive when the test says so. */
class Way extends FakeLink {
  readonly #transport = new FakeTransport();
  readonly #connection: Connection;
  #read = 0;

  constructor(events: LinkEvents, world: World) {
    super(events);
    this.#connection = new Connection({
      id: 'session',
      transport: this.#transport,
      hub: world.hub,
      authenticator: { authenticate: anybody },
      clock: world.clock,
      logger: silent,
      limits: { maxFrameBytes: 1_000, maxSubscriptions: 10 },
      heartbeat: 25_000,
      connectTimeout: 600_000,
    });
  }

  override send(command: Command): void {
    super.send(command);
    void this.#connection.receive(JSON.stringify(command));
  }

  override close(): void {
    super.close();
    this.#connection.gone();
  }

  arrive(count: number): void {
    for (let left = count; left > 0 && !this.closed && this.#read < this.#transport.sent.length; left -= 1) {
      this.#read += 1;
      this.receive(this.#transport.sent[this.#read - 1]?.text ?? '');
    }
  }

  cut(code: number): void {
    if (this.closed) return;
    this.close();
    this.events.onClose(code, '');
  }
}

class Ways implements Rung {
  readonly name: TransportName;
  readonly mayBuffer: boolean;
  readonly ways: Way[] = [];
  readonly #world: World;
  mood: Mood = 'open';

  constructor(name: TransportName, world: World) {
    this.name = name;
    this.mayBuffer = name === 'sse';
    this.#world = world;
  }

  get standing(): Way[] {
    return this.ways.filter(({ closed }) => !closed);
  }

  open(events: LinkEvents): Link {
    const way = new Way(events, this.#world);
    this.ways.push(way);
    queueMicrotask(() => {
      if (way.closed || this.mood === 'hangs') return;
      if (this.mood === 'refuses') way.cut(1006);
      else events.onOpen();
    });
    return way;
  }

  arrive(count: number): void {
    for (const way of this.standing) {
      if (this.mood === 'hangs' || this.mood === 'refuses') continue;
      way.arrive(count);
      if (this.mood === 'open' && this.mayBuffer && !way.closed) way.events.onHeard();
    }
  }
}

const channel = fc.constantFrom(...CHANNELS);
const rung = fc.nat(2);
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('write' as const), channel, n: fc.integer({ min: 1, max: 6 }) }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant('arrive' as const), n: fc.integer({ min: 1, max: 6 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('mood' as const),
      rung,
      mood: fc.constantFrom<Mood>('open', 'open', 'refuses', 'hangs', 'buffers'),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('cut' as const), rung, code: fc.constantFrom(1006, 4000, 4001, 4004) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('turn' as const), time: fc.constantFrom(10, 300, 1_000, 4_000, 30_000) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('sign' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('rest' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('toggle' as const), channel }) },
);

test('I1 I2 I3 I7: whatever the ways do and whichever carries, each event comes once and in order', async () => {
  const sums = { events: 0, moves: 0, visits: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), async (steps) => {
      const world = new World();
      for (const name of CHANNELS) world.create(name, 3);
      const environment = new FakeEnvironment();
      const ladder = NAMES.map((name) => new Ways(name, world));
      const carried: (TransportName | null)[] = [];
      const client = clientOver(
        (events) =>
          new Session({
            rungs: ladder,
            token: async () => undefined,
            clock: world.clock,
            backoff: new Backoff({ base: 250, cap: 2_000 }, () => 0.5),
            random: () => 0.5,
            environment,
            events,
          }),
        (state) => {
          if (state === 'connected') carried.push(client.transport);
        },
      );
      const places = new Map<string, number>();
      const subscriptions = new Map<string, Subscription>();
      const subscribe = (name: string) => {
        const since = `e1.${places.get(name) ?? 0}`;
        const subscription = client.subscribe(name, {
          since,
          onEvent: ({ seq, row }) => {
            expect(seq).toBe((places.get(name) ?? 0) + 1);
            expect((row as unknown as LoggedRow).seq).toBe(seq);
            places.set(name, seq);
            sums.events += 1;
          },
          onReset: ({ reason }) => {
            throw new Error(reason);
          },
        });
        subscriptions.set(name, subscription);
      };
      for (const name of CHANNELS) subscribe(name);
      for (const step of steps) {
        const at = 'rung' in step ? ladder[step.rung] : undefined;
        if (step.kind === 'write') world.write(step.channel, step.n);
        if (step.kind === 'arrive') for (const way of ladder) way.arrive(step.n);
        if (step.kind === 'mood' && at) at.mood = step.mood;
        if (step.kind === 'cut') for (const way of at?.standing ?? []) way.cut(step.code);
        if (step.kind === 'turn') await world.clock.turn(step.time);
        if (step.kind === 'sign') environment.sign();
        if (step.kind === 'rest') environment.rest();
        if (step.kind === 'toggle') {
          const subscription = subscriptions.get(step.channel);
          subscription?.close();
          if (subscriptions.delete(step.channel)) continue;
          subscribe(step.channel);
        }
        await settle();
        // Of the connection and one trial each; nobody else may hold a link.
        expect(ladder.reduce((sum, { standing }) => sum + standing.length, 0)).toBeLessThanOrEqual(2);
      }
      for (const way of ladder) way.mood = 'open';
      environment.sign();
      for (const name of CHANNELS) if (!subscriptions.has(name)) subscribe(name);
      const calm = async (rounds: number) => {
        for (let round = 0; round < rounds && (rounds < 400 || client.transport !== 'websocket'); round += 1) {
          for (const way of ladder) way.arrive(100);
          await world.clock.turn(500);
        }
      };
      await calm(400); // until it is the best one again
      await calm(20);
      expect(client.transport).toBe('websocket');
      for (const name of CHANNELS) expect([name, places.get(name)]).toEqual([name, world.log.state(name)?.head]);
      for (const [name, { position }] of subscriptions)
        expect(parsePosition(position ?? '')?.seq).toBe(places.get(name));
      sums.moves += carried.filter((name, index) => index > 0 && name !== carried[index - 1]).length;
      sums.visits += ladder.reduce((sum, { ways }) => sum + ways.length, 0);
      client.close();
      expect(ladder.flatMap(({ standing }) => standing)).toEqual([]);
    }),
    parameters,
  );
  console.log(`${sums.events} events, ${sums.visits} visits, ${sums.moves} moves`);
  expect(sums.moves).toBeGreaterThan(50);
});
