import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Command, type Frame, parseFrame, parsePosition } from '../../client/protocol/index.js';
import { StandingCommands } from '../../client/transport/standing-commands.js';
import type { Connection } from '../../server/connection/connection.js';
import type { LoggedRow } from '../support/fake-log.js';
import { FakeTransport, settle } from '../support/fakes.js';
import { openConnection, World } from './clients.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('standing-commands'), numRuns: runs(150) };
const CHANNELS = ['message:a', 'message:b', 'message:c'];

type Said = Extract<Command, { channel: string }> | { type: 'ping'; id: number };

/** Who takes the standing for one connection, and holds what comes against the protocol. */
class Above {
  readonly standing = new StandingCommands();
  readonly places = new Map<string, { epoch: string; seq: number }>();
  readonly asked = new Map<number, Said | Command>();
  /** Channels that were asked for, or are read. */
  readonly wanted = new Set<string>();
  connected = 0;
  resets = 0;
  events = 0;
  #lastId = 1;

  constructor() {
    this.asked.set(1, { type: 'connect', id: 1, protocol: 1 });
    this.standing.add({ type: 'connect', id: 1, protocol: 1 });
  }

  say(
    command:
      | { type: 'subscribe'; channel: string; since: string }
      | { type: 'unsubscribe'; channel: string }
      | { type: 'ping' },
  ): void {
    this.#lastId += 1;
    const said: Said = { ...command, id: this.#lastId };
    this.asked.set(said.id, said);
    if (said.type === 'subscribe') this.wanted.add(said.channel);
    if (said.type === 'unsubscribe') {
      this.wanted.delete(said.channel);
      this.places.delete(said.channel);
    }
    for (const reply of this.standing.add(said)) this.read(reply);
  }

  read(frame: Frame): void {
    if (frame.type === 'events') {
      const place = this.places.get(frame.channel);
      if (place === undefined) throw new Error(`I4: events of ${frame.channel}, which is not subscribed`);
      expect(frame.from).toBe(place.seq + 1); // I1 I2 I3
      for (const row of frame.events as unknown as LoggedRow[]) {
        place.seq += 1;
        this.events += 1;
        expect(`${row.epoch}.${row.seq}`).toBe(`${place.epoch}.${place.seq}`);
      }
      return;
    }
    if (frame.type === 'reset') {
      const place = this.places.get(frame.channel);
      const position = parsePosition(frame.position);
      if (place === undefined || position === null) throw new Error(`an untimely reset: ${JSON.stringify(frame)}`);
      expect(position.epoch === place.epoch).toBe(frame.reason !== 'epoch');
      if (frame.reason === 'pruned') expect(position.seq).toBeGreaterThan(place.seq);
      this.resets += 1;
      this.places.set(frame.channel, { ...position });
      return;
    }
    if (frame.type === 'unsubscribed' && frame.id === undefined) {
      expect(this.places.delete(frame.channel)).toBe(true);
      this.wanted.delete(frame.channel);
      return;
    }
    if (!('id' in frame) || frame.id === undefined) throw new Error(JSON.stringify(frame));
    const command = this.asked.get(frame.id);
    if (command === undefined) throw new Error(`answered twice: ${JSON.stringify(frame)}`);
    this.asked.delete(frame.id);
    if (frame.type === 'connected') this.connected += 1;
    if (frame.type === 'error' && command.type === 'subscribe') this.wanted.delete(command.channel);
    if (frame.type !== 'subscribed' || command.type !== 'subscribe') return;
    const { since = 'now' } = command;
    const { epoch, floor, head } = frame;
    const seq = since === 'now' ? head : since === 'start' ? floor - 1 : Number(since);
    this.places.set(frame.channel, { ...(parsePosition(since) ?? { epoch, seq }) });
  }
}

/** Requests to a gateway without its edges. What it answers arrives when the test says so. */
class Requests {
  readonly #world: World;
  readonly #above: Above;
  #connection: Connection | null = null;
  #transport = new FakeTransport();
  #read = 0;
  made = 0;

  constructor(world: World, above: Above) {
    this.#world = world;
    this.#above = above;
  }

  async make(): Promise<void> {
    this.cut();
    this.made += 1;
    const transport = new FakeTransport(2_000);
    const connection = openConnection(this.#world, transport);
    [this.#connection, this.#transport, this.#read] = [connection, transport, 0];
    const [connect, ...others] = this.#above.standing.list();
    await connection.receive(JSON.stringify(connect));
    for (const command of others) void connection.receive(JSON.stringify(command));
    await settle();
  }

  arrive(count = Number.POSITIVE_INFINITY): void {
    for (let left = count; left > 0 && this.#read < this.#transport.sent.length; left -= 1) {
      const frame = parseFrame(this.#transport.sent[this.#read]?.text ?? '');
      this.#read += 1;
      this.#transport.drain();
      const passed = frame && this.#above.standing.translate(frame);
      if (passed !== null) this.#above.read(passed);
    }
  }

  cut(): void {
    this.#connection?.gone();
    this.#transport = new FakeTransport();
    this.#read = 0;
  }
}

const channel = fc.constantFrom(...CHANNELS);
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('subscribe' as const),
      channel,
      since: fc.constantFrom('start', 'now', 'seq', 'position', 'other'),
      n: fc.nat(12),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('unsubscribe' as const), channel }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('again' as const), channel }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('ping' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('write' as const), channel, n: fc.integer({ min: 1, max: 6 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('prune' as const), channel, n: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('renumber' as const), channel, n: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), channel }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('request' as const) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('arrive' as const), n: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const) }) },
);

test('I1 I2 I3 I4: whatever is said between requests, and wherever they break off, they look like one connection', async () => {
  const sums = { events: 0, resets: 0, requests: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      const world = new World();
      for (const name of CHANNELS) world.create(name, 5);
      const dropped = new Set<string>();
      const above = new Above();
      const requests = new Requests(world, above);
      for (const step of steps) {
        switch (step.kind) {
          case 'subscribe': {
            if (above.wanted.has(step.channel)) break;
            const { epoch } = world.log.state(step.channel) ?? { epoch: 'e1' };
            const positions = { seq: `${step.n}`, position: `${epoch}.${step.n}`, other: `e0.${step.n}` };
            const since = step.since === 'start' || step.since === 'now' ? step.since : positions[step.since];
            above.say({ type: 'subscribe', channel: step.channel, since });
            break;
          }
          case 'unsubscribe':
            if (above.wanted.has(step.channel)) above.say({ type: 'unsubscribe', channel: step.channel });
            break;
          case 'again':
            if (!above.wanted.has(step.channel)) break;
            above.say({ type: 'unsubscribe', channel: step.channel });
            above.say({ type: 'subscribe', channel: step.channel, since: 'start' });
            break;
          case 'ping':
            above.say({ type: 'ping' });
            break;
          case 'write':
            if (!dropped.has(step.channel)) world.write(step.channel, step.n);
            break;
          case 'prune':
            if (!dropped.has(step.channel)) world.log.prune(step.channel, step.n);
            break;
          case 'renumber':
            if (!dropped.has(step.channel)) world.log.renumber(step.channel, step.n);
            world.readTail();
            break;
          case 'drop':
            dropped.add(step.channel);
            world.log.drop(step.channel);
            break;
          case 'request':
            await requests.make();
            break;
          case 'arrive':
            requests.arrive(step.n);
            break;
          case 'cut':
            requests.cut();
        }
        await settle();
      }
      for (let round = 0; round < 5; round += 1) {
        await requests.make();
        for (let turn = 0; turn < 20; turn += 1) {
          requests.arrive();
          await settle();
        }
      }
      expect(above.connected).toBe(1);
      expect([...above.asked.values()]).toEqual([]);
      expect([...above.places.keys()].sort()).toEqual([...above.wanted].sort());
      expect([...above.standing.channels].sort()).toEqual([...above.wanted].sort());
      for (const [name, place] of above.places) {
        const { epoch, head } = world.log.state(name) ?? { epoch: 'gone', head: 0 };
        expect([name, place]).toEqual([name, { epoch, seq: head }]);
      }
      sums.events += above.events;
      sums.resets += above.resets;
      sums.requests += requests.made;
      requests.cut();
    }),
    parameters,
  );
  console.log(`${sums.requests} requests, ${sums.events} events, ${sums.resets} resets`);
  expect(Math.min(sums.events, sums.resets)).toBeGreaterThan(30);
});
