import { expect, test } from '@jest/globals';
import type { Channel } from '../../server/hub/channel.js';
import { ask, Client, World } from '../property/clients.js';
import { settle } from '../support/fakes.js';

const LINGER = 30_000;
const CHANNEL = 'message:a';

/** Comes, reads from the start, and leaves, as a poll does. */
async function visit(world: World, since = 'start') {
  const client = await new Client(world).connect();
  const frames = await ask(client, { type: 'subscribe', channel: CHANNEL, since });
  client.connection.gone();
  return frames;
}

function world(linger = LINGER) {
  const made = new World({ linger, limits: { rows: 10, bytes: 10_000 }, cacheBytes: 100_000 });
  made.create(CHANNEL, 5);
  return made;
}

test('a channel that was left is there for the next who comes: one open and one page for all of them', async () => {
  const here = world();
  for (let poll = 0; poll < 5; poll += 1) await visit(here);
  expect([here.log.opened, here.log.asked]).toEqual([1, ['0..5']]);
  expect([here.hub.channels.size, here.hub.readers]).toEqual([0, 0]);
});

test('I9: what is written while no client reads is there as well', async () => {
  const here = world();
  await visit(here);
  here.write(CHANNEL, 2);
  expect(await visit(here, 'e1.5')).toMatchObject([{ head: 7 }, { type: 'events', from: 6, events: [{}, {}] }]);
  expect(here.log.opened).toBe(1);
});

test('after its time it is forgotten, and nothing of it is left', async () => {
  const here = world();
  await visit(here);
  await here.clock.turn(LINGER - 1);
  expect(here.hub.cacheBytes).toBeGreaterThan(0);
  await here.clock.turn(1);
  expect([here.hub.cacheBytes, here.clock.timers]).toEqual([0, 0]);
  await visit(here);
  expect(here.log.opened).toBe(2);
});

test('I2: another numbering, or a tail that may have missed something, is not answered from memory', async () => {
  const here = world();
  await visit(here);
  here.log.renumber(CHANNEL, 3);
  here.readTail();
  await settle();
  expect(await visit(here, 'e1.5')).toMatchObject([
    { epoch: 'e2', head: 3 },
    { type: 'reset', reason: 'epoch' },
  ]);
  here.log.write(CHANNEL, 4);
  here.log.movement(CHANNEL); // the tail lost it
  here.hub.recheckAll();
  expect(await visit(here, 'e2.3')).toMatchObject([{ head: 7 }, { type: 'events', from: 4 }]);
});

test('I7: after the end nothing lingers, also what is let go of later', async () => {
  const here = world();
  const reader = await new Client(here).connect();
  await ask(reader, { type: 'subscribe', channel: CHANNEL });
  await visit(here);
  here.hub.close();
  reader.connection.gone();
  expect([here.hub.cacheBytes, here.clock.timers]).toEqual([0, 0]);
});

test('a channel that is gone is not kept', async () => {
  const here = world();
  const reader = await new Client(here).connect();
  await ask(reader, { type: 'subscribe', channel: CHANNEL });
  here.log.drop(CHANNEL);
  here.hub.recheckAll();
  await settle();
  expect(await visit(here)).toMatchObject([{ type: 'error', code: 'unknown_channel' }]);
  here.log.create(CHANNEL, 1);
  expect(await visit(here)).toMatchObject([{ head: 1 }, { type: 'events' }]);
});

test.each([0, LINGER])(
  'what is followed in the feed is what the hub holds or keeps (it keeps for %i ms)',
  async (linger) => {
    const world = new World({ prompt: false, linger });
    const { log, hub, clock } = world;
    world.create(CHANNEL, 1);
    const nowhere = hub.hold('message:nowhere');
    log.answerOpen();
    expect(await nowhere).toBeNull();
    const failing = hub.hold(CHANNEL);
    log.answerOpen(false);
    await expect(failing).rejects.toThrow('away');
    expect([...log.followed]).toEqual([]);
    const held = hub.hold(CHANNEL);
    log.answerOpen();
    const channel = await held;
    expect([...log.followed]).toEqual([CHANNEL]);
    if (channel !== null) hub.release(channel);
    expect([...log.followed]).toEqual(linger > 0 ? [CHANNEL] : []);
    await clock.turn(linger);
    expect([...log.followed]).toEqual([]);
  },
);

test('I9: a channel that another has held and released before the answer was heard is held all the same', async () => {
  const world = new World({ prompt: false });
  const { log, hub } = world;
  world.create(CHANNEL, 1);
  const first = hub.hold(CHANNEL);
  log.answerOpen();
  while (!hub.channels.has(CHANNEL)) await Promise.resolve();
  void hub.hold(CHANNEL);
  hub.release(hub.channels.get(CHANNEL) as Channel);
  await settle();
  log.answerOpen();
  const channel = await first;
  expect(hub.channels.get(CHANNEL)).toBe(channel);
  expect([...log.followed]).toEqual([CHANNEL]);
});
