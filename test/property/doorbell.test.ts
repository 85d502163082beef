import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { INTERVAL, WINDOW } from '../support/doorbell-options.js';
import { World } from '../support/doorbell-world.js';
import { settle } from '../support/fakes.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('doorbell'), numRuns: runs(400) };

/** One ring wakes the gateway, or two, or none ever; a sleepRate of 1,000 sends it to sleep at each window. */
const rates = fc.record({ wakeRate: fc.constantFrom(2, 2, 4, 1_000), sleepRate: fc.constantFrom(2, 4, 1_000, 1_000) });
const step = fc.oneof(
  { weight: 10, arbitrary: fc.record({ do: fc.constant('arrive' as const), which: fc.nat(9) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), which: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rest' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), time: fc.constantFrom(INTERVAL, WINDOW) }) },
);

test('I9: every committed row is read, however writers, reads and the gate interleave, without another write', async () => {
  const reached = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(
      rates,
      fc.integer({ min: 1, max: 3 }),
      fc.array(step, { maxLength: 100, size: 'max' }),
      fc.nat(1),
      async (rates, writers, steps, order) => {
        const world = new World({ writers, ...rates, failing: true });
        const [gateway] = world.gateways;
        if (gateway === undefined) throw new Error('a world has a gateway');
        const { clock, doorbell } = gateway;
        gateway.hear(); // as when it has connected
        for (const step of steps) {
          if (step.do === 'wait') await clock.turn(step.time);
          else if (step.do === 'arrive')
            world.arrive([...world.pending.keys()][step.which % Math.max(1, world.pending.size)]);
          else if (step.do === 'write') world.write(step.which);
          else if (step.do === 'lose') world.lose();
          else await gateway.rest();
          await settle();
          reached.set(doorbell.state, (reached.get(doorbell.state) ?? 0) + 1);
        }

        world.finish(order);
        await gateway.rest();

        // Left alone it falls asleep, and rests.
        for (let windows = 0; windows < 6; windows += 1) {
          for (let turn = 0; turn < WINDOW; turn += 100) {
            await clock.turn(100);
            await world.arriveAll();
          }
        }
        expect([doorbell.state, world.locked, clock.timers]).toEqual(['asleep', false, 1]);
        const { reads } = gateway;
        await clock.turn(100 * WINDOW);
        expect(gateway.reads).toBe(reads);
        // I7: stopped while it reads, it reads no more.
        doorbell.ring();
        const stopped = doorbell.stop();
        await world.arriveAll();
        await stopped;
        doorbell.ring();
        await world.arriveAll();
        expect([gateway.reads, world.locked, clock.timers]).toEqual([reads + 1, false, 0]);
      },
    ),
    parameters,
  );
  // A test that never got there would prove nothing.
  for (const state of ['asleep', 'waking', 'awake', 'leaving', 'settling'])
    expect(reached.get(state)).toBeGreaterThan(100);
});
