import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { clientOver } from '../../client/client.js';
import { Backoff } from '../../client/ground/backoff.js';
import { parsePosition } from '../../client/protocol/index.js';
import { Session } from '../../client/session/session.js';
import type { Subscription } from '../../client/subscription/subscription.js';
import type { TransportName } from '../../client/transport/rung.js';
import type { LoggedRow } from '../support/fake-log.js';
import { FakeEnvironment, settle } from '../support/fakes.js';
import { World } from './clients.js';
import { runs, seed } from './seed.js';
import { FakeIssuer, type Mood, Ways } from './ways.js';

const parameters = { seed: seed('moves'), numRuns: runs(100) };
const CHANNELS = ['message:a', 'message:b', 'message:c'];
const NAMES: readonly TransportName[] = ['websocket', 'sse', 'poll'];

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
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('issuer' as const),
      mood: fc.constantFrom<FakeIssuer['mood']>('gives', 'gives', 'repeats', 'fails', 'hangs', 'is away'),
      lifetime: fc.constantFrom(300, 1_000, 3_000, 30_000),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('while' as const), channel, rounds: fc.integer({ min: 2, max: 12 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('deny' as const), channel }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('allow' as const), channel }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('sign' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('rest' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('toggle' as const), channel }) },
);

test('I1 I2 I3 I5 I7: whatever the ways do, whichever carries, and whenever tokens expire, each event comes once and in order', async () => {
  const sums = { events: 0, moves: 0, visits: 0, refreshed: 0, forbidden: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), async (steps) => {
      const world = new World();
      for (const name of CHANNELS) world.create(name, 3);
      const environment = new FakeEnvironment();
      const issuer = new FakeIssuer(world.clock);
      const ladder = NAMES.map((name) => new Ways(name, world, issuer));
      const carried: (TransportName | null)[] = [];
      const client = clientOver(
        (events) =>
          new Session({
            rungs: ladder,
            token: issuer.token,
            clock: world.clock,
            backoff: new Backoff({ base: 250, cap: 2_000 }, () => 0.5),
            random: () => 0.5,
            environment,
            events,
          }),
        (state) => {
          if (state === 'connected') carried.push(client.transport);
        },
        { clock: world.clock, backoff: () => new Backoff({ base: 250, cap: 30_000 }) },
      );
      const places = new Map<string, number>();
      /** Codes of the errors that closed a subscription. */
      const ends: string[] = [];
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
          onState: (state, error) => {
            if (state !== 'closed' || error === undefined) return;
            ends.push(error.code);
            subscriptions.delete(name);
          },
        });
        subscriptions.set(name, subscription);
      };
      for (const name of CHANNELS) subscribe(name);
      /** Time goes on, rows are written, and whatever can arrive does. */
      const pass = async (rounds: number, write = () => {}) => {
        for (let round = 0; round < rounds; round += 1) {
          write();
          await settle();
          for (const way of ladder) way.arrive(100);
          await world.clock.turn(500);
        }
      };
      for (const step of steps) {
        const at = 'rung' in step ? ladder[step.rung] : undefined;
        if (step.kind === 'write') world.write(step.channel, step.n);
        if (step.kind === 'arrive') for (const way of ladder) way.arrive(step.n);
        if (step.kind === 'mood' && at) at.mood = step.mood;
        if (step.kind === 'while') await pass(step.rounds, () => world.write(step.channel, 1));
        if (step.kind === 'deny') world.deny(step.channel);
        if (step.kind === 'allow') world.allow(step.channel);
        if (step.kind === 'issuer') [issuer.mood, issuer.lifetime] = [step.mood, step.lifetime];
        if (step.kind === 'cut') for (const way of at?.standing ?? []) way.cut(step.code);
        if (step.kind === 'turn') await world.clock.turn(step.time);
        if (step.kind === 'sign') environment.hint();
        if (step.kind === 'rest') environment.suspend();
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
      [issuer.mood, issuer.lifetime] = ['gives', 3_600_000];
      environment.hint();
      for (const name of CHANNELS) world.allow(name);
      for (const way of ladder) way.arrive(100); // what was denied is known
      await settle();
      for (const name of CHANNELS) if (!subscriptions.has(name)) subscribe(name);
      // Until all has come, by the best one again; and then nothing more comes.
      const behind = () => CHANNELS.some((name) => places.get(name) !== world.log.state(name)?.head);
      for (let round = 0; round < 400 && (behind() || client.transport !== 'websocket'); round += 1) await pass(1);
      await pass(5);
      expect(client.transport).toBe('websocket');
      for (const name of CHANNELS) expect([name, places.get(name)]).toEqual([name, world.log.state(name)?.head]);
      for (const [name, { position }] of subscriptions)
        expect(parsePosition(position ?? '')?.seq).toBe(places.get(name));
      expect(ends.filter((code) => code !== 'forbidden')).toEqual([]);
      sums.forbidden += ends.length;
      sums.refreshed += issuer.refreshed;
      sums.moves += carried.filter((name, index) => index > 0 && name !== carried[index - 1]).length;
      sums.visits += ladder.reduce((sum, { ways }) => sum + ways.length, 0);
      client.close();
      expect(ladder.flatMap(({ standing }) => standing)).toEqual([]);
    }),
    parameters,
  );
  console.log(sums);
  for (const sum of Object.values(sums)) expect(sum).toBeGreaterThan(10);
});
