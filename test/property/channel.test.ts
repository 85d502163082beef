import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { RowTexts } from '../../server/ports/row-texts.js';
import { settle } from '../support/fakes.js';
import { apply, CACHE, MAX_PAGE, NAME, step, World } from './channel-world.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('channel'), numRuns: runs(120) };

test('I1 I2 I3 I6 I7: every reader gets the rows after its place, up to the head, whatever happens on the way', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(20), fc.array(step, { maxLength: 80, size: 'max' }), async (rows, steps) => {
      const world = new World(rows);
      for (const step of steps) {
        await apply(world, step);
        await settle();
        expect(world.cache.bytes).toBeLessThanOrEqual(CACHE + MAX_PAGE);
      }
      await world.calm();
      for (const { epoch, place } of world.followers) {
        expect([epoch, world.log.unread(NAME, place)]).toEqual([world.log.state(NAME)?.epoch, false]);
        expect(place).toBeLessThanOrEqual(world.channel.state.head);
      }

      while (world.followers.length > 0) world.leave(0);
      world.channel.close();
      expect({ bytes: world.cache.bytes, timers: world.clock.timers }).toEqual({ bytes: 0, timers: 0 });
    }),
    parameters,
  );
});

describe('rows are read once for all who need them', () => {
  const rows = 100;
  const roomy = { limits: { rows: 10, bytes: 1_000_000 }, cacheBytes: 1_000_000, prompt: true };

  test('fifty readers at one place cost one read per page', async () => {
    const world = new World(rows, roomy);
    for (let reader = 0; reader < 50; reader += 1) world.join(0);
    await world.calm();
    expect(world.log.asked).toEqual(Array.from({ length: 10 }, (_, page) => `${page * 10}..100`));
  });

  test('readers who come while a page is on its way wait for that one, those elsewhere for the next', async () => {
    const world = new World(rows, { ...roomy, prompt: false });
    world.join(95);
    for (const after of [91, 95, 95, 97]) world.join(after);
    await settle();
    expect(world.log.asked).toEqual(['95..100']);
    world.log.answerPage();
    await settle();
    expect(world.log.asked).toEqual(['95..100', '91..95']);
    await world.calm();
    expect(world.log.asked).toHaveLength(2);
  });

  test('the next page is read while a reader is sent the one before, if it goes on from page to page', async () => {
    const world = new World(rows, { ...roomy, prompt: false });
    const reader = world.join(0);
    await settle();
    await world.clock.turn(1);
    expect(world.log.asked).toEqual(['0..100']);
    world.log.answerPage();
    await settle();
    await world.clock.turn(1);
    expect(world.log.asked).toEqual(['0..100', '10..100', '20..100']);
    world.log.answerPage(1);
    await settle();
    expect(reader.place).toBe(10);
    world.log.answerPage();
    await settle();
    expect(reader.place).toBe(30);
    await world.calm();
    expect([reader.place, world.log.asked.length]).toEqual([rows, 10]);
  });

  test('rows that a movement carried are never read from the table, and encoded once', async () => {
    const world = new World(rows, roomy);
    const readers = Array.from({ length: 20 }, () => world.join(rows));
    world.log.write(NAME, 3);
    world.readTail();
    expect(readers.map(({ place }) => place)).toEqual(readers.map(() => rows + 3));
    expect(world.log.asked).toEqual([]);
    expect(world.channel.next(rows)).toBe(world.channel.next(rows));
  });

  test('a movement that is known in part adds only what is new', async () => {
    const world = new World(0, roomy);
    const reader = world.join(0);
    const movement = (rows: number[]) => {
      const texts = rows.map((seq) => JSON.stringify({ epoch: 'e1', seq }));
      return { channel: NAME, epoch: 'e1', head: rows.at(-1) ?? 0, rows: RowTexts.of(rows[0] ?? 0, texts) };
    };
    world.channel.moved(movement([1, 2, 3]));
    world.channel.moved(movement([2, 3]));
    world.channel.moved(movement([2, 3, 4, 5]));
    world.channel.moved(movement([1, 2, 3, 4]));
    expect([reader.place, reader.frames, world.channel.state.head]).toEqual([5, 2, 5]);
    const late = world.join(0);
    expect([late.place, late.frames]).toEqual([5, 1]);
    expect(world.log.asked).toEqual([]);

    const [once, twice] = [new World(0, roomy), new World(0, roomy)];
    for (const rows of [
      [1, 2, 3],
      [2, 3, 4, 5],
    ])
      twice.channel.moved(movement(rows));
    once.channel.moved(movement([1, 2, 3, 4, 5]));
    expect(twice.cache.bytes).toBe(once.cache.bytes);
  });
});

test('I6: what does not fit into the cache is let go, and read again when it is wanted again', async () => {
  const world = new World(40, { limits: { rows: 4, bytes: 1_000_000 }, cacheBytes: 1_000, prompt: true });
  world.join(0);
  await world.calm();
  world.join(0);
  await world.calm();
  expect(world.log.asked.length).toBeGreaterThanOrEqual(18);
});

test('a reader far behind does not make those in front wait, nor is it passed over', async () => {
  const world = new World(100, { limits: { rows: 10, bytes: 1_000_000 }, cacheBytes: 1_000_000 });
  const behind = world.join(0);
  const ahead = world.join(90);
  for (let page = 0; page < 4; page += 1) {
    await settle();
    world.log.answerPage();
  }
  await settle();
  expect([behind.place >= 20, ahead.place]).toEqual([true, 100]);
});

test('a table that is away is asked again, every 250 ms and not more often', async () => {
  const world = new World(1);
  const reader = world.join(0);
  for (let failures = 1; failures <= 5; failures += 1) {
    expect(world.log.asked).toHaveLength(failures);
    world.log.answerPage(0, false);
    await world.clock.turn(249);
    expect(world.log.asked).toHaveLength(failures);
    await world.clock.turn(1);
  }
  world.log.answerPage();
  await settle();
  expect(reader.place).toBe(1);
});

test('a state that has to be read again is asked for until it comes, though nothing else happens', async () => {
  const world = new World(1);
  const reader = world.join(1);
  world.log.renumber(NAME, 0);
  world.readTail();
  for (let failures = 1; failures <= 5; failures += 1) {
    expect([world.log.opened, world.clock.timers]).toEqual([failures, 0]);
    world.log.answerOpen(false);
    await world.clock.turn(250);
  }
  world.log.answerOpen();
  await settle();
  expect([reader.epoch, reader.place, world.clock.timers]).toEqual(['e2', 0, 0]);
});

test('the readers of a channel that is gone are told', async () => {
  const world = new World(3, { prompt: true });
  world.join(3);
  world.join(3);
  world.log.drop(NAME);
  await world.channel.refresh();
  expect(world.channel.readers).toBe(0);
});

test('I2: rows of a new numbering never come before the reset that tells it', async () => {
  const world = new World(5, { prompt: true });
  const reader = world.join(5);
  // After a TRUNCATE the tail reads the new rows before it has read the new epoch.
  const texts = [1, 2, 3, 4, 5, 6, 7].map((seq) => JSON.stringify({ epoch: 'e2', seq }));
  world.log.renumber(NAME, 7);
  const movement = { channel: NAME, epoch: 'e2', head: 7, rows: RowTexts.of(1, texts) };
  world.channel.moved(movement);
  await world.calm();
  expect([reader.epoch, reader.place, reader.frames]).toEqual(['e2', 7, 0]);
});

test('I2: a page of the old numbering that comes after the reset is thrown away', async () => {
  const world = new World(5);
  world.join(0);
  await settle();
  world.log.look(0);
  world.log.renumber(NAME, 5);
  world.readTail();
  world.log.answerOpen();
  await settle();
  world.log.answerPage();
  await settle();
  world.join(0);
  await world.calm();
  expect(world.followers.map(({ epoch, place }) => [epoch, place])).toEqual([
    ['e2', 5],
    ['e2', 5],
  ]);
});

test('I2: where a standby lacks the last rows, readers beyond its head are told, and get what takes their numbers', async () => {
  const world = new World(10, { prompt: true });
  const beyond = world.join(10);
  const behind = world.join(4);
  await settle();
  world.log.failOver(NAME, 7);
  await world.channel.refresh();
  expect([beyond.setBack, beyond.place]).toEqual([1, 7]);
  world.log.write(NAME, 2);
  await world.calm();
  expect([beyond.place, behind.place, world.channel.state.head]).toEqual([9, 9, 9]);
});

test('I1 I2: a page of the lost timeline is not handed out, and nobody is sent beyond the new head', async () => {
  for (const found of ['after the page was read', 'before it was read', 'by the page'] as const) {
    const world = new World(10);
    const reader = world.join(5);
    await settle();
    if (found === 'after the page was read') world.log.look(0); // the old server has answered, but the answer is still on its way
    world.log.failOver(NAME, 5);
    if (found !== 'by the page') world.channel.recheck();
    await settle();
    world.log.answerOpen();
    await settle();
    world.log.answerPage();
    await settle();
    world.log.answerOpen();
    await settle();
    expect([reader.place, reader.frames]).toEqual([5, 0]);
    world.log.write(NAME, 3);
    await world.calm();
    expect([reader.place, world.channel.state.head]).toEqual([8, 8]);
  }
});

test('I1 I2: nor is one that was read ahead', async () => {
  const world = new World(20, { prompt: false });
  const reader = world.join(0);
  await settle();
  world.log.answerPage();
  await settle();
  await world.clock.turn(1);
  expect(world.log.asked).toHaveLength(3);
  world.log.look(1); // the old server has answered, but the answer is still on its way
  world.log.failOver(NAME, reader.place);
  world.channel.recheck();
  await settle();
  world.log.answerOpen();
  await settle();
  world.log.write(NAME, 9, 1);
  world.readTail(0);
  world.log.answerPage(1);
  await settle();
  await world.calm();
  expect(reader.place).toBe(world.channel.state.head);
  const { from, events } = JSON.parse(world.channel.next(8)?.text.toString() ?? '') as {
    from: number;
    events: object[];
  };
  expect([from, events.every((event) => 'pad' in event)]).toEqual([9, true]);
});

describe('I7: a channel that was closed while a page was on its way', () => {
  test.each([
    ['answered', true],
    ['refused', false],
  ])('leaves no timer and no page when that is %s', async (_, works) => {
    const world = new World(10);
    world.join(0);
    await settle();
    world.leave(0);
    world.channel.close();
    world.log.answerPage(0, works);
    await settle();
    expect({ bytes: world.cache.bytes, timers: world.clock.timers }).toEqual({ bytes: 0, timers: 0 });
    await world.clock.turn(1_000);
    expect(world.log.asked).toHaveLength(1);
  });

  test('nor when it was looking up its state', async () => {
    const waiting = new World(10);
    waiting.channel.recheck();
    waiting.log.answerOpen(false);
    await settle();
    expect(waiting.clock.timers).toBe(1);
    waiting.channel.close();
    expect(waiting.clock.timers).toBe(0);

    const asking = new World(10);
    asking.channel.recheck();
    asking.channel.close();
    asking.log.answerOpen(false);
    await settle();
    expect(asking.clock.timers).toBe(0);
  });

  test('also while it waits to ask again', async () => {
    const world = new World(10);
    world.join(0);
    world.log.answerPage(0, false);
    await settle();
    world.leave(0);
    world.channel.close();
    expect(world.clock.timers).toBe(0);
  });
});
