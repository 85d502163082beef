import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { TabGateway } from '../../client/tabs/tab-gateway.js';
import { settle } from '../support/fakes.js';
import { World } from './clients.js';
import { runs, seed } from './seed.js';
import { FakeTab, leadTabs, type SlowConnection } from './tabs-world.js';

const parameters = { seed: seed('tabs'), numRuns: runs(400) };

const CHANNELS = ['message:a', 'message:b'];
const which = fc.nat(99);
const channel = fc.constantFrom(...CHANNELS);
const since = fc.oneof(
  fc.constantFrom('start', 'now'),
  fc.nat(12).map(String),
  fc.tuple(fc.constantFrom('e1', 'e2', 'x'), fc.nat(15)).map((position) => position.join('.')),
  fc.constant('never'),
);
const works = fc.integer({ min: 0, max: 6 }).map(Boolean);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('subscribe' as const), which, channel, since }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('unsubscribe' as const), which, channel }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('move' as const), which, channel, since }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('read' as const), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('resume' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), which }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('write' as const), channel, count: fc.integer({ min: 1, max: 20 }) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('tail' as const), carry: fc.constantFrom(0, 3, 1_000) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('page' as const), which, works }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('open' as const), works }) },
  { weight: 9, arbitrary: fc.record({ do: fc.constant('deliver' as const) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant('arrive' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('prune' as const), channel, floor: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renumber' as const), channel, rows: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drop' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('connect' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

interface Browser {
  readonly world: World;
  readonly tabGateway: TabGateway;
  readonly carrier: SlowConnection;
  readonly tabs: FakeTab[];
}

async function apply({ world, tabGateway, carrier, tabs }: Browser, step: Step): Promise<void> {
  const { log } = world;
  const tab = tabs['which' in step ? step.which % tabs.length : 0];
  if (tab === undefined) return;
  switch (step.do) {
    case 'subscribe':
      return tab.say({ type: 'subscribe', channel: step.channel, since: step.since });
    case 'unsubscribe':
      return tab.say({ type: 'unsubscribe', channel: step.channel });
    case 'move':
      tab.say({ type: 'unsubscribe', channel: step.channel });
      return tab.say({ type: 'subscribe', channel: step.channel, since: step.since });
    case 'read':
      return tab.read();
    case 'resume':
      return tab.resume();
    case 'leave':
      tab.follower.gone();
      tabs[tabs.indexOf(tab)] = new FakeTab(tabGateway);
      return;
    case 'write':
      return log.write(step.channel, step.count);
    case 'tail':
      return world.readTail(step.carry);
    case 'page':
      return log.answerPage(step.which, step.works);
    case 'open':
      return log.answerOpen(step.works);
    case 'deliver':
      return carrier.deliver();
    case 'arrive':
      return carrier.arrive();
    case 'prune':
      return log.prune(step.channel, step.floor);
    case 'renumber':
      return log.renumber(step.channel, step.rows);
    case 'drop':
      return carrier.drop();
    case 'connect':
      return carrier.connect();
  }
}

/** Everything works again, and the tabs read what comes. */
async function calm({ world, carrier, tabs }: Browser): Promise<void> {
  const { log, clock } = world;
  if (carrier.state !== 'connected') await carrier.connect();
  for (let round = 0; round < 400; round += 1) {
    world.readTail();
    while (!log.idle) {
      log.answerOpen();
      log.answerPage();
      await settle();
    }
    while (!carrier.quiet) {
      carrier.deliver();
      carrier.arrive();
      await settle();
    }
    await clock.turn(250);
    for (const tab of tabs) tab.resume();
    for (const tab of tabs) tab.read();
    const caughtUp = tabs.every((tab) =>
      [...tab.places].every(([name, { epoch, seq }]) => log.state(name)?.epoch === epoch && !log.unread(name, seq)),
    );
    const answered = tabs.every((tab) => tab.asked.size === 0 && tab.left.size === 0);
    if (caughtUp && answered && log.idle && carrier.quiet) return;
  }
  throw new Error('the tabs do not come to the head');
}

test('I1 I2 I3 I4 I6 I9: whatever tabs ask of the one that leads, each gets what a connection of its own would give', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.array(step, { maxLength: 120, size: 'max' }),
      async (count, steps) => {
        const world = new World({ prompt: false });
        for (const [index, name] of CHANNELS.entries()) world.create(name, 5 + index * 5);
        const { tabGateway, carrier } = leadTabs(world);
        const tabs = Array.from({ length: count }, () => new FakeTab(tabGateway));
        const browser = { world, tabGateway, carrier, tabs };
        await carrier.connect();
        for (const step of steps) {
          await apply(browser, step);
          await settle();
        }
        await calm(browser);

        for (const tab of tabs) tab.follower.gone();
        while (!carrier.quiet) {
          carrier.deliver();
          carrier.arrive();
          await settle();
        }
        expect([...world.hub.channels.keys()]).toEqual([]);
        tabGateway.close();
      },
    ),
    parameters,
  );
});
