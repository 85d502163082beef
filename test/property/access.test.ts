import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { settle } from '../support/fakes.js';
import { CHANNELS, INTERVAL, PolicyWorld, TOKEN, Watched } from './policy.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('access'), numRuns: runs(200) };

/** The first two connections are of one user. */
const USERS = ['ann', 'ann', 'bob'];

const which = fc.nat(99);
const channel = fc.constantFrom(...CHANNELS);
const user = fc.constantFrom(...new Set(USERS));
const one = <T extends string, R extends object>(
  name: T,
  rest: { [K in keyof R]: fc.Arbitrary<R[K]> },
  weight: number,
) => ({
  weight,
  arbitrary: fc.record({ do: fc.constant(name), ...rest }) as unknown as fc.Arbitrary<{ do: T } & R>,
});
const step = fc.oneof(
  one('write', { channel, count: fc.integer({ min: 1, max: 9 }) }, 6),
  one('subscribe', { which, channel, since: fc.constantFrom('start', 'now', '3') }, 6),
  one('unsubscribe', { which, channel }, 2),
  one('change', { user, channel, allowed: fc.boolean(), rings: fc.boolean() }, 4),
  one('ring', { user }, 2),
  one('look', { which }, 3),
  one('decide', { which, how: fc.constantFrom(...(['answers', 'answers', 'answers', 'fails', 'away'] as const)) }, 10),
  one('refresh', { which, narrow: fc.boolean(), other: fc.integer({ min: 0, max: 9 }).map((n) => n === 0) }, 4),
  one('read', { which }, 6),
  one('drain', { which, bytes: fc.constantFrom(50, 200, 5_000) }, 6),
  one('wait', { time: fc.constantFrom(250, 1_000, TOKEN, INTERVAL) }, 3),
  one('leave', { which }, 1),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** What has gone wrong once. */
const a = CHANNELS[0] ?? '';
const FOUND: readonly (readonly Step[])[] = [
  // Two refreshes at once: what one was permitted is let go of when the other ends the subscription.
  [
    { do: 'subscribe', which: 0, channel: a, since: 'start' },
    { do: 'decide', which: 0, how: 'answers' },
    { do: 'read', which: 0 },
    { do: 'wait', time: 1_000 },
    { do: 'refresh', which: 0, narrow: false, other: false },
    { do: 'wait', time: 250 },
    { do: 'refresh', which: 0, narrow: false, other: false },
    { do: 'decide', which: 1, how: 'fails' },
    { do: 'decide', which: 0, how: 'answers' },
    { do: 'decide', which: 0, how: 'fails' },
  ],
  // A token that expires while it is decided what it opens.
  [
    { do: 'subscribe', which: 0, channel: a, since: 'start' },
    { do: 'decide', which: 0, how: 'answers' },
    { do: 'read', which: 0 },
    { do: 'wait', time: 1_000 },
    { do: 'refresh', which: 0, narrow: false, other: false },
    { do: 'wait', time: INTERVAL },
    { do: 'write', channel: a, count: 3 },
    { do: 'decide', which: 0, how: 'answers' },
  ],
  // Refused by an answer that was under way, and allowed by the next.
  [
    { do: 'subscribe', which: 0, channel: a, since: 'start' },
    { do: 'unsubscribe', which: 0, channel: a },
    { do: 'subscribe', which: 0, channel: a, since: 'start' },
    { do: 'decide', which: 0, how: 'fails' },
    { do: 'decide', which: 0, how: 'answers' },
    { do: 'change', user: 'ann', channel: a, allowed: false, rings: true },
  ],
  // Allowed while an answer is on its way that has not seen it; whoever asks now is not refused by that.
  [
    { do: 'change', user: 'ann', channel: a, allowed: false, rings: false },
    { do: 'subscribe', which: 0, channel: a, since: 'start' },
    { do: 'look', which: 0 },
    { do: 'change', user: 'ann', channel: a, allowed: true, rings: false },
    { do: 'subscribe', which: 1, channel: a, since: 'start' },
    { do: 'decide', which: 0, how: 'answers' },
    { do: 'decide', which: 0, how: 'answers' },
  ],
  // Refused by an answer that a change had overtaken: the next question is asked, and not answered from memory.
  [
    { do: 'refresh', which: 0, narrow: true, other: false },
    { do: 'subscribe', which: 0, channel: a, since: 'start' },
    { do: 'look', which: 0 },
    { do: 'change', user: 'ann', channel: a, allowed: false, rings: true },
    { do: 'decide', which: 0, how: 'answers' },
    { do: 'subscribe', which: 0, channel: a, since: 'start' },
  ],
];

async function apply(world: PolicyWorld, clients: Watched[], step: Step): Promise<void> {
  const { policy, log } = world;
  const watched = clients['which' in step ? step.which % clients.length : 0];
  if (watched === undefined) return;
  switch (step.do) {
    case 'write':
      return world.write(step.channel, step.count);
    case 'subscribe':
      return watched.subscribe(step.channel, step.since);
    case 'unsubscribe':
      return void watched.client.say({ type: 'unsubscribe', channel: step.channel });
    case 'change':
      policy.set(step.user, step.channel, step.allowed);
      if (step.rings) world.ring(step.user);
      return;
    case 'ring':
      return world.ring(step.user);
    case 'look':
      return policy.look(step.which);
    case 'decide':
      return policy.answer(step.which, step.how);
    case 'refresh':
      return watched.refresh(step.other ? 'eve' : watched.user, step.narrow);
    case 'read':
      log.answerOpen();
      return log.answerPage(step.which);
    case 'drain':
      return watched.client.transport.drain(step.bytes);
    case 'wait':
      return world.clock.turn(step.time);
    case 'leave':
      return watched.client.connection.gone();
  }
}

/** Lets everything answer that was asked. */
async function answerAll({ policy, log }: PolicyWorld, clients: readonly Watched[]): Promise<void> {
  for (let round = 0; round < 100; round += 1) {
    await settle();
    for (const { client } of clients) client.transport.drain();
    for (const watched of clients) watched.check();
    if (policy.questions.length === 0 && log.idle) return;
    while (policy.questions.length > 0) policy.answer(0, 'answers');
    log.answerOpen();
    log.answerPage();
  }
  throw new Error('it does not come to rest');
}

test('I1 I2 I3 I4 I5 I7: whatever is written, denied, allowed and refreshed, no event comes without the right to it, and none is missing with it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 80, size: 'max' }), async (steps) => {
      const world = new PolicyWorld({ prompt: false });
      for (const [index, name] of CHANNELS.entries()) world.create(name, index * 5);
      const clients = USERS.map((name) => new Watched(world, name));
      await settle();

      for (const step of steps) {
        world.policy.step += 1;
        await apply(world, clients, step);
        await settle();
        for (const [index, watched] of clients.entries()) {
          watched.check();
          // Who was sent away, or has left, comes back.
          if (watched.gone || watched.client.connection.closed) clients[index] = new Watched(world, watched.user);
        }
        await settle();
      }

      // Every change has rung, and the database answers: what is subscribed may be read, and is read to its end.
      world.policy.step += 1;
      for (const name of new Set(USERS)) world.ring(name);
      for (let round = 0; round < 3; round += 1) {
        for (const watched of clients) if (watched.paused) watched.refresh(watched.user, false);
        await answerAll(world, clients);
        await world.clock.turn(250); // what the database could not be asked is asked again
      }
      world.readTail();
      await answerAll(world, clients);
      for (const watched of clients) {
        if (watched.gone) continue; // its last refresh was of another user
        expect(watched.paused).toBe(false);
        for (const [name, { epoch, seq }] of watched.client.places) {
          expect({ name, allowed: watched.allowedNow(name), epoch, seq }).toEqual({
            name,
            allowed: true,
            epoch: 'e1',
            seq: world.log.state(name)?.head,
          });
        }
        expect(watched.client.connection.subscriptions).toBe(watched.client.places.size);
      }

      for (const { client } of clients) client.connection.gone();
      await world.clock.turn(2 * INTERVAL);
      expect(world.access.size).toBe(0);
      world.access.stop();
      world.hub.close();
      expect({ channels: [...world.hub.channels.keys()], timers: world.clock.timers }).toEqual({
        channels: [],
        timers: 0,
      });
    }),
    { ...parameters, examples: FOUND.map((steps) => [[...steps]]) },
  );
});
