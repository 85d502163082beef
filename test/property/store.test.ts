import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { StreamEvent } from '../../client/index.js';
import { parsePosition } from '../../client/protocol/index.js';
import type { Fold } from '../../client/store/fold.js';
import type { Live, Store } from '../../client/store/live.js';
import type { LogWindow } from '../../client/store/log.js';
import type { Rows } from '../../client/store/rows.js';
import { settle } from '../support/fakes.js';
import { StoreWorld } from '../support/store-world.js';
import { seed } from './seed.js';
import { CHANNEL } from './wire.js';

/** A fold that fails where an event is missing, comes twice, or is of another numbering. */
const CHAIN: Fold<{ readonly position: string | null; readonly count: number }> = {
  begin: () => ({ position: null, count: 0 }),
  step({ position, count }, event) {
    const [last, next] = [parsePosition(position ?? ''), parsePosition(event.position)];
    if (last !== null && (next?.epoch !== last.epoch || next.seq !== last.seq + 1))
      throw new Error(`${event.position} after ${position}`);
    return { position: event.position, count: count + 1 };
  },
};

interface Mounted {
  toggle(): void;
  mount(): void;
}

/** A component: it looks at a store while it is mounted, and at each of its values. */
class Component<T> implements Mounted {
  readonly #store: () => Store<T>;
  readonly #check: (value: T) => void;
  #unsubscribe: (() => void) | null = null;
  renders = 0;

  constructor(store: () => Store<T>, check: (value: T) => void) {
    this.#store = store;
    this.#check = check;
  }

  get value(): T {
    return this.#store().get();
  }

  toggle(): void {
    if (this.#unsubscribe !== null) return this.unmount();
    const store = this.#store();
    const render = () => {
      this.renders += 1;
      expect(store.get()).toBe(store.get()); // what React calls an uncached snapshot renders for ever
      this.#check(store.get());
    };
    this.#unsubscribe = store.subscribe(render);
    render();
  }

  mount(): void {
    if (this.#unsubscribe === null) this.toggle();
  }

  unmount(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
  }
}

function checkEvent(event: StreamEvent): void {
  const { epoch, seq } = parsePosition(event.position) ?? {};
  expect([event.row.epoch, event.row.seq, event.seq]).toEqual([epoch, seq, seq]);
}

/** Each row once, in order, of one numbering; where some are missing a reset said so. */
function checkRows({ data }: Live<Rows>): void {
  if (data === undefined) return;
  const events = [...data];
  for (const [index, event] of events.entries()) {
    checkEvent(event);
    const before = events[index - 1];
    if (before === undefined) continue;
    const told = data.resets.some(({ position }) => position === `${event.row.epoch}.${event.seq - 1}`);
    if (!told) expect(`${event.row.epoch} ${event.seq}`).toBe(`${before.row.epoch} ${before.seq + 1}`);
    else expect(event.seq).toBeGreaterThan(before.seq);
  }
  expect([data.at(-1), data.at(data.length)]).toEqual([events.at(-1), undefined]);
}

function checkWindow(window: LogWindow): void {
  for (const index of [0, 1, window.length >> 1, window.length - 1]) {
    const event = window.at(index);
    if (event === undefined) continue;
    checkEvent(event);
    expect(event.seq).toBe(window.seqAt(index));
    expect(window.indexOf(event.seq)).toBe(index);
  }
  expect(window.at(window.length)).toBeUndefined();
}

const which = fc.nat(99);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('toggle' as const), which }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('write' as const), count: fc.integer({ min: 1, max: 30 }) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('answer' as const) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('send' as const), count: fc.integer({ min: 1, max: 20 }) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant('arrive' as const) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('deliver' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('drop' as const, 'move' as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('connect' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('prune' as const), floor: fc.nat(200) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renumber' as const), head: fc.nat(40) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('only' as const), which }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('wait' as const), time: fc.constantFrom(1, 16, 500, 3_000, 60_000) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('show' as const), from: fc.nat(200) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

const WAYS = [['websocket'], ['sse'], ['poll'], undefined] as const;

async function apply(world: StoreWorld, components: readonly Mounted[], step: Step): Promise<unknown> {
  const { gateway, store } = world;
  switch (step.do) {
    case 'toggle':
      return components[step.which % components.length]?.toggle();
    case 'write':
      gateway.head += step.count;
      return;
    case 'answer':
    case 'arrive':
    case 'drop':
    case 'move':
    case 'connect':
      return gateway[step.do]();
    case 'send':
      return gateway.send(step.count);
    case 'deliver':
      return world.deliver();
    case 'prune':
      return gateway.prune(step.floor);
    case 'renumber':
      return gateway.renumber(step.head);
    case 'only':
      return store.only(WAYS[step.which % WAYS.length]);
    case 'wait':
      return world.clock.turn(step.time);
    case 'show':
      return store
        .log(CHANNEL)
        .get()
        .show(step.from, step.from + 20);
  }
}

const random = seed('store');
const KEEP = 40;

test('I1 I2 I3 I7: mounts, unmounts, switches of the transport, resets and page loads: each row once, in order, up to the head', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(30), fc.array(step, { maxLength: 80, size: 'max' }), async (head, steps) => {
      const world = new StoreWorld(head, { keep: KEEP });
      const { store } = world;
      const all = new Component(() => store.channel(CHANNEL, { since: 'start', keep: 10_000 }), checkRows);
      const newest = new Component(() => store.channel(CHANNEL), checkRows);
      const fold = new Component(
        () => store.fold(CHANNEL, CHAIN),
        () => {},
      );
      const log = new Component(() => store.log(CHANNEL), checkWindow);
      const even = new Component(() => store.log(CHANNEL, { type: ['even'] }), checkWindow);
      const components: readonly Mounted[] = [
        all,
        newest,
        new Component(() => store.channel(CHANNEL), checkRows),
        fold,
        log,
        even,
      ];
      for (const step of steps) {
        await apply(world, components, step);
        await settle();
      }

      for (const component of components) component.mount();
      await world.calm();
      const { gateway } = world;
      const seqs = (from: number) => Array.from({ length: gateway.head - from + 1 }, (_, index) => from + index);
      const shown = ({ value }: Component<Live<Rows>>) => [...(value.data ?? [])].map(({ seq }) => seq);
      const available = seqs(gateway.floor);
      expect([all, newest, fold].map(({ value }) => value.status)).toEqual(['live', 'live', 'live']);
      // Rows that were pruned after they had arrived stay.
      expect(shown(all).filter((seq) => seq >= gateway.floor)).toEqual(available);
      expect(shown(newest).filter((seq) => seq >= gateway.floor)).toEqual(available.slice(-KEEP));
      expect(shown(newest).length).toBeLessThanOrEqual(KEEP);
      if (gateway.head >= gateway.floor) expect(fold.value.data?.position).toBe(`${gateway.epoch}.${gateway.head}`);

      log.value.show(0, log.value.length);
      await world.calm();
      // What was pruned is not there; all else is loaded, and each match found.
      const { floor, length } = log.value;
      const loaded = Array.from({ length }, (_, index) => log.value.at(index)?.seq);
      expect(loaded.slice(gateway.floor - floor)).toEqual(seqs(gateway.floor));
      const matches = Array.from({ length: even.value.length }, (_, index) => even.value.seqAt(index) ?? 0);
      expect(matches.filter((seq) => seq >= gateway.floor)).toEqual(seqs(gateway.floor).filter((seq) => seq % 2 === 0));

      newest.unmount();
      store.close();
      await world.clock.turn(0);
      expect(world.clock.timers).toBe(0);
      expect(world.gateway.state).toBe('closed');
    }),
    { seed: random, numRuns: 60 },
  );
});
