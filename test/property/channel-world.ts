/** A channel with readers that look at every row they get, and what may happen to them. */
import { expect } from '@jest/globals';
import fc from 'fast-check';
import { type Frame, type Position, parsePosition, type ResetReason } from '../../client/protocol/index.js';
import { type Owner, Subscription } from '../../server/connection/subscription.js';
import { PageCache } from '../../server/hub/cache.js';
import { Channel } from '../../server/hub/channel.js';
import type { PageLimits } from '../../server/hub/page.js';
import { SERVICE } from '../../server/ports/principal.js';
import { FakeLog, type LoggedRow } from '../support/fake-log.js';
import { FakeClock, settle, silent } from '../support/fakes.js';

export const NAME = 'message:lobby';
export const LIMITS: PageLimits = { rows: 4, bytes: 400 };
export const CACHE = 1_500;
/** The largest row, and the largest page: its rows as bytes, and the frames that may be cut from it. */
const MAX_PAD = 300;
export const MAX_PAGE = 5 * (LIMITS.bytes + MAX_PAD + 200);

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
    this.hub = { hold: async () => channel, release: () => {}, whenReadable: () => () => {} };
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
    const taken = subscription.take();
    if (taken === null) return false;
    const { type, channel, from, events } = JSON.parse(taken.text.toString()) as {
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

export class World {
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

export const step = fc.oneof(
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
export type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

export async function apply(world: World, step: Step): Promise<void> {
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
