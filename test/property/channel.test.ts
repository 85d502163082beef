import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Frame, type Position, parsePosition, type ResetReason } from '../../client/protocol/index.js';
import { type Owner, Subscription } from '../../server/connection/subscription.js';
import { PageCache } from '../../server/hub/cache.js';
import { Channel, type PageLimits } from '../../server/hub/channel.js';
import { SERVICE } from '../../server/ports/principal.js';
import { FakeClock, FakeLog, type LoggedRow, settle, silent } from '../support/fakes.js';
import { seed } from './seed.js';

const parameters = { seed: seed('channel'), numRuns: 300 };

const NAME = 'message:lobby';
const LIMITS: PageLimits = { rows: 4, bytes: 400 };
const CACHE = 1_500;
/** The largest row, and the largest page: its rows as bytes, and the frames that may be cut from it. */
const MAX_PAD = 300;
const MAX_PAGE = 5 * (LIMITS.bytes + MAX_PAD + 200);

/** A subscription, and a client behind it that looks at every row it gets. */
class Follower implements Owner {
  readonly subscription: Subscription;
  readonly hub: Owner['hub'];
  readonly access = { hold: async () => ({ release: () => {} }) };
  readonly principal = SERVICE;
  readonly fresh = false;
  readonly #eager: boolean;
  readonly #log: FakeLog;
  epoch: string;
  place: number;
  frames = 0;
  setBack = 0;

  constructor(log: FakeLog, channel: Channel, after: number, eager: boolean) {
    this.#log = log;
    this.epoch = channel.state.epoch;
    this.place = after;
    this.#eager = eager;
    this.hub = { hold: async () => channel, release: () => {} };
    this.subscription = new Subscription(NAME, `${this.epoch}.${after}`, this);
    this.subscription.begin(1, channel);
  }

  send(frame: Frame): void {
    if (frame.type !== 'reset') return;
    const position = parsePosition(frame.position);
    if (position === null) throw new Error(`no position: ${frame.position}`);
    this.#reset(frame.reason, position);
  }

  /** Also while it is being made. */
  ready(subscription: Subscription): void {
    if (this.#eager) while (this.#takeOf(subscription));
  }

  remove(): void {}

  /** Takes one frame, if there is one in memory. */
  take(): boolean {
    return this.#takeOf(this.subscription);
  }

  #takeOf(subscription: Subscription): boolean {
    const data = subscription.take();
    if (data === null) return false;
    const { type, channel, from, events } = JSON.parse(data.toString()) as {
      type: string;
      channel: string;
      from: number;
      events: LoggedRow[];
    };
    this.frames += 1;
    expect([type, channel, from]).toEqual(['events', NAME, this.place + 1]);
    expect(events.length).toBeGreaterThan(0);
    for (const { epoch, seq } of events) {
      this.place += 1;
      if (epoch !== this.epoch || seq !== this.place) {
        throw new Error(`${epoch}.${seq} came as ${this.epoch}.${this.place}`);
      }
    }
    expect(subscription.after).toBe(this.place);
    return true;
  }

  drain(): void {
    while (this.take());
  }

  #reset(reason: ResetReason, { epoch, seq }: Position): void {
    if (reason === 'epoch') {
      expect(epoch).not.toBe(this.epoch);
    } else if (reason === 'ahead') {
      this.setBack += 1;
      expect([epoch, this.#log.unread(NAME, seq)]).toEqual([this.epoch, false]);
      expect(seq).toBeLessThan(this.place);
    } else {
      expect([reason, epoch]).toEqual(['pruned', this.epoch]);
      expect(seq).toBeGreaterThan(this.place);
      // A row that can still be read is never given up.
      for (let lost = this.place + 1; lost <= seq; lost += 1) expect(this.#log.has(NAME, lost)).toBe(false);
    }
    this.epoch = epoch;
    this.place = seq;
  }
}

class World {
  readonly clock = new FakeClock();
  readonly cache: PageCache;
  readonly log: FakeLog;
  readonly channel: Channel;
  readonly followers: Follower[] = [];

  constructor(rows: number, { limits = LIMITS, cacheBytes = CACHE, prompt = false } = {}) {
    this.log = new FakeLog(limits, prompt);
    this.log.create(NAME, rows);
    this.cache = new PageCache(cacheBytes);
    const state = this.log.state(NAME);
    if (state === null) throw new Error('no channel');
    const context = { feed: this.log, pages: this.log, cache: this.cache, limits, clock: this.clock, logger: silent };
    this.channel = new Channel(NAME, state, context);
  }

  join(after: number, eager = true): Follower {
    const follower = new Follower(this.log, this.channel, after, eager);
    this.followers.push(follower);
    return follower;
  }

  leave(index: number): void {
    const [follower] = this.followers.splice(index % Math.max(1, this.followers.length), 1);
    follower?.subscription.close();
  }

  /** What the tail does when it reads: tells the movement, or that only a new state can tell what happened. */
  readTail(carry?: number): void {
    const movement = this.log.movement(NAME, carry);
    if (movement !== null) this.channel.moved(movement);
    if (this.log.renumbered(NAME)) this.channel.recheck();
  }

  /** Everything works again, and is read to the end. */
  async calm(): Promise<void> {
    for (let round = 0; round < 200; round += 1) {
      this.readTail();
      while (!this.log.idle) {
        this.log.answerOpen();
        this.log.answerPage();
        await settle();
      }
      for (const follower of this.followers) follower.drain();
      await this.clock.turn(250);
      if (
        this.log.idle &&
        this.channel.state.epoch === this.log.state(NAME)?.epoch &&
        this.followers.every(({ subscription }) => !subscription.behind)
      )
        return;
    }
    throw new Error('the readers do not come to the head');
  }
}

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      count: fc.integer({ min: 1, max: 9 }),
      pad: fc.nat(MAX_PAD),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('tail' as const),
      carry: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.nat(5)),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('join' as const),
      place: fc.double({ min: 0, max: 1, noNaN: true }),
      eager: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('page' as const),
      index: fc.nat(5),
      works: fc.integer({ min: 0, max: 4 }).map(Boolean),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('look' as const), index: fc.nat(5) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('open' as const), works: fc.integer({ min: 0, max: 3 }).map(Boolean) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('take' as const), index: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), index: fc.nat(9) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('prune' as const), share: fc.double({ min: 0, max: 1.2, noNaN: true }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('cut' as const),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      count: fc.nat(3),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('refresh' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renumber' as const), rows: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), time: fc.constantFrom(100, 250) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

async function apply(world: World, step: Step): Promise<void> {
  const { log, channel, followers, clock } = world;
  const { floor, head } = channel.state;
  switch (step.do) {
    case 'write':
      return log.write(NAME, step.count, step.pad);
    case 'tail':
      return world.readTail(step.carry);
    case 'join':
      if (followers.length < 8) world.join(floor - 1 + Math.round(step.place * (head - floor + 1)), step.eager);
      return;
    case 'page':
      return log.answerPage(step.index, step.works);
    case 'look':
      return log.pages.length > 0 ? log.look(step.index) : undefined;
    case 'open':
      return log.answerOpen(step.works);
    case 'take':
      followers[step.index % Math.max(1, followers.length)]?.take();
      return;
    case 'leave':
      return world.leave(step.index);
    case 'prune':
      return log.prune(NAME, Math.round(step.share * head) + 1);
    case 'cut': {
      const from = Math.round(step.share * head) + 1;
      return log.cut(NAME, from, from + step.count);
    }
    case 'refresh':
      return channel.recheck();
    case 'renumber':
      return log.renumber(NAME, step.rows);
    case 'wait':
      return clock.turn(step.time);
  }
}

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

  test('rows that a movement carried are never read from the table, and encoded once', async () => {
    const world = new World(rows, roomy);
    const readers = Array.from({ length: 20 }, () => world.join(rows));
    world.log.write(NAME, 3);
    world.readTail();
    expect(readers.map(({ place }) => place)).toEqual(readers.map(() => rows + 3));
    expect(world.log.asked).toEqual([]);
    expect(world.channel.next(rows)?.data).toBe(world.channel.next(rows)?.data);
  });

  test('a movement that is known in part adds only what is new', async () => {
    const world = new World(0, roomy);
    const reader = world.join(0);
    const row = (seq: number) => ({ seq, json: JSON.stringify({ epoch: 'e1', seq }) });
    const movement = (rows: number[]) => ({ channel: NAME, epoch: 'e1', head: rows.at(-1) ?? 0, rows: rows.map(row) });
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
  const rows = [1, 2, 3, 4, 5, 6, 7].map((seq) => ({ seq, json: JSON.stringify({ epoch: 'e2', seq }) }));
  world.log.renumber(NAME, 7);
  const movement = { channel: NAME, epoch: 'e2', head: 7, rows };
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
