import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { settle } from '../support/fakes.js';
import { ask, Client, meet, World } from './clients.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('connection'), numRuns: runs(120) };

const BUFFER = 500;
const CHANNELS = ['message:a', 'message:b', 'message:c'];
const which = fc.nat(99);
const channel = fc.constantFrom(...CHANNELS);
const since = fc.oneof(
  fc.constantFrom('start', 'now', '-3'),
  fc.nat(12).map(String),
  fc.tuple(fc.constantFrom('e1', 'e2', 'x'), fc.nat(15)).map((position) => position.join('.')),
  fc.constant('never'),
);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('subscribe' as const), which, channel, since }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('unsubscribe' as const), which, channel }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('write' as const), channel, count: fc.integer({ min: 1, max: 20 }) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('tail' as const), carry: fc.constantFrom(0, 3, 1_000) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('page' as const),
      which,
      works: fc.integer({ min: 0, max: 4 }).map(Boolean),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('open' as const), works: fc.integer({ min: 0, max: 4 }).map(Boolean) }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('drain' as const), which, bytes: fc.constantFrom(50, 200, 5_000) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('prune' as const), channel, floor: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renumber' as const), channel, rows: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

async function apply(world: World, clients: Client[], step: Step): Promise<void> {
  const { log } = world;
  const client = clients['which' in step ? step.which % clients.length : 0];
  if (client === undefined) return;
  switch (step.do) {
    case 'subscribe':
      client.say({ type: 'subscribe', channel: step.channel, since: step.since });
      return;
    case 'unsubscribe':
      client.say({ type: 'unsubscribe', channel: step.channel });
      return;
    case 'write':
      return log.write(step.channel, step.count);
    case 'tail':
      return world.readTail(step.carry);
    case 'page':
      return log.answerPage(step.which, step.works);
    case 'open':
      return log.answerOpen(step.works);
    case 'drain':
      return client.transport.drain(step.bytes);
    case 'prune':
      return log.prune(step.channel, step.floor);
    case 'renumber':
      return log.renumber(step.channel, step.rows);
    case 'leave': {
      client.connection.gone();
      const other = await new Client(world, { bufferBytes: BUFFER }).connect();
      clients[clients.indexOf(client)] = other;
      return;
    }
    case 'wait':
      return world.clock.turn(250);
  }
}

/** Everything works again, and the clients read what comes. */
async function calm(world: World, clients: Client[]): Promise<void> {
  const { log, clock } = world;
  for (let round = 0; round < 300; round += 1) {
    world.readTail();
    while (!log.idle) {
      log.answerOpen();
      log.answerPage();
      await settle();
    }
    for (const client of clients) client.transport.drain();
    await clock.turn(250);
    for (const client of clients) client.frames();
    const places = clients.flatMap((client) => [...client.places]);
    const caughtUp = places.every(([channel, { epoch, seq }]) => {
      return log.state(channel)?.epoch === epoch && !log.unread(channel, seq);
    });
    if (caughtUp && log.idle) return;
  }
  throw new Error('the clients do not come to the head');
}

const steps = fc.array(step, { maxLength: 100, size: 'max' });

test('I1 I2 I3 I4 I6 I7: whatever is asked and whatever happens, each client gets what its subscriptions promise', async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.boolean(), fc.constantFrom(0, 600), async (steps, calmFirst, linger) => {
      const world = new World({ prompt: false, linger });
      for (const [index, name] of CHANNELS.entries()) world.create(name, index * 5);
      const clients: Client[] = [];
      for (let index = 0; index < 2; index += 1)
        clients.push(await new Client(world, { bufferBytes: BUFFER }).connect());

      for (const step of steps) {
        await apply(world, clients, step);
        await settle();
        for (const client of clients) client.frames();
      }
      if (calmFirst) await calm(world, clients);

      for (const { connection } of clients) connection.gone();
      while (!world.log.idle) {
        world.log.answerOpen(calmFirst);
        world.log.answerPage(0, calmFirst);
        await settle();
      }
      world.hub.close();
      expect({ held: [...world.hub.channels.keys()], bytes: world.hub.cacheBytes, timers: world.clock.timers }).toEqual(
        {
          held: [],
          bytes: 0,
          timers: 0,
        },
      );
    }),
    parameters,
  );
});

describe('subscriptions', () => {
  const subscribed = { type: 'subscribed', channel: 'message:a', epoch: 'e1', floor: 4, head: 10 };
  const events = (from: number, count: number) => ({
    type: 'events',
    from,
    events: Array.from({ length: count }, (_, index) => ({ seq: from + index })),
  });
  const reset = (reason: string, position: string) => ({ type: 'reset', channel: 'message:a', reason, position });

  test.each([
    ['start', [events(4, 4), events(8, 3)]],
    ['now', []],
    [undefined, []],
    ['-2', [events(9, 2)]],
    ['-99', [events(4, 4), events(8, 3)]],
    ['3', [events(4, 4), events(8, 3)]],
    ['9', [events(10, 1)]],
    ['e1.8', [events(9, 2)]],
    ['e1.10', []],
    ['e1.11', [reset('ahead', 'e1.10')]],
    ['11', [reset('ahead', 'e1.10')]],
    ['e1.2', [reset('pruned', 'e1.3'), events(4, 4), events(8, 3)]],
    ['0', [reset('pruned', 'e1.3'), events(4, 4), events(8, 3)]],
    ['e0.8', [reset('epoch', 'e1.10')]],
  ])('I2 I4: since %s', async (since, following) => {
    const { client } = await meet();
    const answer = await ask(client, {
      type: 'subscribe',
      channel: 'message:a',
      ...(since === undefined ? {} : { since }),
    });
    expect(answer).toMatchObject([subscribed, ...following]);
    expect(answer).toHaveLength(1 + following.length);
  });

  test('a position ahead of what this gateway has read is looked up before it is called wrong', async () => {
    const { world, client } = await meet();
    const other = await new Client(world).connect();
    await ask(other, { type: 'subscribe', channel: 'message:a' });
    world.log.write('message:a', 2); // the tail has not read them yet
    expect(await ask(client, { type: 'subscribe', channel: 'message:a', since: 'e1.11' })).toMatchObject([
      { ...subscribed, head: 12 },
      events(12, 1),
    ]);
    world.readTail();
    await settle();
    expect([client.frames(), other.frames()]).toMatchObject([[], [events(11, 2)]]);
  });

  test('the channel may be gone when that is looked up', async () => {
    const { world, client } = await meet();
    const other = await new Client(world).connect();
    await ask(other, { type: 'subscribe', channel: 'message:a' });
    world.log.drop('message:a');
    expect(await ask(client, { type: 'subscribe', channel: 'message:a', since: 'e1.11' })).toMatchObject([
      { type: 'error', code: 'unknown_channel' },
    ]);
    expect(other.frames()).toMatchObject([{ type: 'unsubscribed', code: 'unknown_channel' }]);
    expect(world.hub.channels.size).toBe(0);
  });

  test('I4: unsubscribed, and subscribed again before the first was answered, there is one subscription', async () => {
    const world = new World({ prompt: false });
    world.create('message:a', 0);
    const client = await new Client(world).connect();
    client.say({ type: 'subscribe', channel: 'message:a' });
    client.say({ type: 'unsubscribe', channel: 'message:a' });
    const last = client.say({ type: 'subscribe', channel: 'message:a' });
    await settle();
    world.log.answerOpen();
    await settle();
    world.write('message:a', 1);
    const sent = client.transport.sent.map(({ text }) => JSON.parse(text) as { type: string; id?: number });
    expect(sent.filter(({ type }) => type === 'subscribed').map(({ id }) => id)).toEqual([last]);
    expect(sent.filter(({ type }) => type === 'events')).toHaveLength(1);
    client.say({ type: 'unsubscribe', channel: 'message:a' });
    expect(world.hub.channels.size).toBe(0);
  });

  test('each command gets one reply, also a subscribe that was taken back before its channel was open', async () => {
    const world = new World({ prompt: false });
    world.create('message:a', 0);
    const client = await new Client(world).connect();
    client.say({ type: 'subscribe', channel: 'message:a' });
    client.say({ type: 'unsubscribe', channel: 'message:a' });
    await settle();
    world.log.answerOpen();
    await settle();
    client.frames();
    expect([...client.asked.values()]).toEqual([]);
  });

  test('however many clients ask for a channel at once, the table is asked once', async () => {
    const { world } = await meet();
    const clients: Client[] = [];
    for (let index = 0; index < 20; index += 1) clients.push(await new Client(world).connect());
    for (const client of clients) client.say({ type: 'subscribe', channel: 'message:a' });
    await settle();
    expect(world.log.opened).toBe(1);
    for (const client of clients) expect(client.frames()).toMatchObject([subscribed]);
  });
});

describe('I6: the pump', () => {
  const names = ['message:1', 'message:2', 'message:3', 'message:4', 'message:5'];

  /** A client behind a transport that takes one frame at a time, subscribed to channels whose rows are all in memory. */
  async function stalled(counts: number[]): Promise<{ client: Client; drain: () => string[] }> {
    const world = new World({ limits: { rows: 10, bytes: 1_000_000 }, cacheBytes: 1_000_000 });
    const client = await new Client(world, { bufferBytes: 1 }).connect();
    for (const [index] of counts.entries()) {
      world.create(names[index] ?? '', 0);
      await ask(client, { type: 'subscribe', channel: names[index] });
    }
    for (const [index, count] of counts.entries()) world.write(names[index] ?? '', count);
    return {
      client,
      drain() {
        client.transport.drain();
        return client.frames().map((frame) => ('channel' in frame ? frame.channel : frame.type));
      },
    };
  }

  test('channels that are behind take turns, one frame each', async () => {
    const { drain } = await stalled([100, 100, 100, 100, 100]);
    const turns = Array.from({ length: 50 }, () => drain());
    expect(turns.every((frames) => frames.length === 1)).toBe(true);
    for (let round = 0; round < 50; round += 5) {
      expect(
        turns
          .slice(round, round + 5)
          .flat()
          .sort(),
      ).toEqual(names);
    }
    expect(drain()).toEqual([]);
  });

  test('a small channel comes through beside a huge one', async () => {
    const { drain } = await stalled([1_000, 1]);
    expect([drain(), drain()].flat()).toContain('message:2');
  });

  test('a reply does not wait for the events, and no event is handed to a transport that takes none', async () => {
    const { client } = await stalled([1_000]);
    const before = client.transport.sent.length;
    expect(await ask(client, { type: 'ping' })).toMatchObject([{ type: 'pong' }]);
    expect(client.transport.sent).toHaveLength(before + 1);
  });
});
