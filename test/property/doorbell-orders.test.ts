import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { NEVER } from '../support/doorbell-options.js';
import { type SearchOptions, type SearchResult, search, Walk } from '../support/doorbell-search.js';
import type { World } from '../support/doorbell-world.js';
import { runs, seed } from './seed.js';

const STATES = ['asleep', 'waking', 'awake', 'leaving', 'settling'];

/** Rows that ends of orders left to the safety read. */
let excused = 0;

/**
 * Nothing is left to happen, and nobody writes again. Whether a row waits that no death excuses, or a gateway does
 * not sleep. What a death excuses has to be found by the safety read.
 */
async function strands(world: World): Promise<boolean> {
  const dead = world.gateways.find((gateway) => gateway.excused !== null);
  for (const gateway of world.gateways) {
    if (gateway === dead) continue;
    const { unread, doorbell, clock } = gateway;
    if (doorbell.state !== 'asleep' || unread.some((xid) => !dead?.excused?.has(xid))) return true;
    if (unread.length === 0) continue;
    excused += unread.length;
    await clock.turn(NEVER);
    await world.arriveAll();
    if (gateway.unread.length > 0) throw new Error('the safety read has not found what a dead gateway left');
  }
  return false;
}

async function orders(options: SearchOptions): Promise<SearchResult> {
  const result = await search(options, strands);
  const { orders, states, stranding } = result;
  process.stderr.write(`doorbell, ${JSON.stringify(options)}: ${orders} orders through ${states} states\n`);
  if (stranding !== null) process.stderr.write(`  strands a row: ${stranding.join(', ')}\n`);
  // A whole search that never got there would prove nothing.
  else for (const state of STATES) expect(result.reached[state]).toBeGreaterThan(100);
  return result;
}

test('I9: two writers and a gateway that wakes twice: no order strands a row', async () => {
  const { stranding, orders: ways } = await orders({ writers: 2, wakings: [2] });
  expect(stranding).toBeNull();
  expect(ways).toBeGreaterThan(1_000_000n);
}, 120_000);

test('I9: without the last read, that waits for a transaction number, the same search strands a row', async () => {
  const { stranding } = await orders({ writers: 2, wakings: [1], settling: 'nothing' });
  expect(stranding?.at(-1)).toMatch(/^w[01] commits$/);
});

test('I9: with the xmax of a snapshot in place of a number of its own, it strands a row (decision 0009)', async () => {
  const { stranding } = await orders({ writers: 2, wakings: [1], settling: 'snapshot' });
  expect(stranding?.at(-1)).toMatch(/^w[01] commits$/);
});

test('I9: two gateways, one of them may die at any step: no order strands a row that is not excused', async () => {
  excused = 0;
  const { stranding } = await orders({ writers: 1, gateways: 2, wakings: [1, 0], dying: true, prompt: true });
  expect(stranding).toBeNull();
  expect(excused).toBeGreaterThan(0);
}, 120_000);

test('I9: two gateways that both want the gate, two writers: no order strands a row, of many at random', async () => {
  excused = 0;
  const reached = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(fc.infiniteStream(fc.nat(1_000)), fc.boolean(), async (choices, dying) => {
      const walk = new Walk({ writers: 2, gateways: 2, wakings: [2, 2], dying });
      for (let moves = walk.moves(); moves.length > 0; moves = walk.moves()) {
        await walk.take(moves[choices.next().value % moves.length] ?? '');
        for (const { doorbell } of walk.world.gateways) {
          reached.set(doorbell.state, (reached.get(doorbell.state) ?? 0) + 1);
        }
      }
      expect(await strands(walk.world)).toBe(false);
    }),
    { seed: seed('doorbell-orders'), numRuns: runs(700) },
  );
  for (const state of STATES) expect(reached.get(state)).toBeGreaterThan(1_000);
  expect(excused).toBeGreaterThan(0);
});
