import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { clientOver } from '../../client/client.js';
import { Backoff } from '../../client/ground/backoff.js';
import { RowcastError } from '../../client/ground/error.js';
import { Poller } from '../../client/polling/poller.js';
import { stateOfExecution } from '../../client/progress/activity.js';
import { FakePolls, type Health } from '../support/fake-polls.js';
import { FakeClock, FakeEnvironment } from '../support/fakes.js';
import { runs, seed } from './seed.js';

const CHANNELS = ['message:a', 'message:b', 'execution:c'];
const TYPES = ['log', 'execution-started', 'execution-completed'];
const HEALTHS: Health[] = [
  'works',
  'works',
  'fails',
  'hangs',
  'no database',
  { error: new RowcastError('rate_limited'), retryAfter: 700 },
];

const step = fc.oneof(
  fc.record({ do: fc.constant('write'), channel: fc.nat(2), count: fc.nat(5), type: fc.nat(2) }),
  fc.record({ do: fc.constant('health'), health: fc.nat(HEALTHS.length - 1) }),
  fc.record({ do: fc.constantFrom('pause', 'resume', 'refresh', 'sign', 'offline', 'online') }),
  fc.record({ do: fc.constant('reopen'), channel: fc.nat(2) }),
  fc.record({ do: fc.constant('time'), time: fc.nat(20_000) }),
) as fc.Arbitrary<{ do: string; channel?: number; count?: number; type?: number; health?: number; time?: number }>;

const plan = fc.record({
  pageRows: fc.integer({ min: 1, max: 8 }),
  /** How long a request is on its way, in milliseconds. */
  way: fc.constantFrom(0, 5, 900),
  steps: fc.array(step, { maxLength: 40 }),
});

/** What a subscription has seen, over all that it was opened anew at its last position. */
class Reader {
  seen = 0;
  position = 'start';
  close = () => {};
}

test('I1, I2, I3, I7: whatever happens in between, each channel is read once, in order and to its end', async () => {
  await fc.assert(
    fc.asyncProperty(plan, async ({ pageRows, way, steps }) => {
      const clock = new FakeClock();
      const gateway = new FakePolls();
      const environment = new FakeEnvironment();
      let online = true;
      gateway.pageRows = pageRows;
      gateway.onRequest = () => (way === 0 ? undefined : new Promise((resolve) => void clock.after(way, resolve)));
      let poller!: Poller;
      const client = clientOver((events) => {
        poller = new Poller({
          settings: {
            interval: 2_000,
            running: 1_000,
            pending: 10_000,
            stateOf: stateOfExecution,
            timeout: 10_000,
            breakerFailures: 3,
            breakerCooldown: 30_000,
            thresholds: { failureRate: 0.05, response: 5_000, recovery: 60_000 },
          },
          poll: gateway.poll,
          token: async () => undefined,
          clock,
          backoff: new Backoff({ base: 1_000, cap: 30_000 }, () => 0.5),
          environment,
          online: () => online,
          events,
        });
        return poller;
      }, undefined);
      const wrong: string[] = [];
      const written = CHANNELS.map(() => 0);
      const readers = CHANNELS.map(() => new Reader());
      const open = (index: number) => {
        const reader = readers[index];
        if (reader === undefined) return;
        let closed = false;
        const subscription = client.subscribe(CHANNELS[index] ?? '', {
          since: reader.position,
          onEvent({ seq, position }) {
            if (closed || seq !== reader.seen + 1) wrong.push(`${CHANNELS[index]} ${seq} after ${reader.seen}`);
            Object.assign(reader, { seen: seq, position });
          },
        });
        reader.close = () => {
          closed = true;
          subscription.close();
        };
      };
      CHANNELS.forEach((_, index) => {
        open(index);
      });

      for (const { do: action, channel = 0, count = 0, type = 0, health = 0, time = 0 } of steps) {
        if (action === 'write') {
          gateway.write(CHANNELS[channel] ?? '', ...Array<string>(count).fill(TYPES[type] ?? ''));
          written[channel] = (written[channel] ?? 0) + count;
        } else if (action === 'health') gateway.health = HEALTHS[health] ?? 'works';
        else if (action === 'reopen') {
          readers[channel]?.close();
          open(channel);
        } else if (action === 'time') await clock.turn(time);
        else if (action === 'sign') environment.hint();
        else if (action === 'online' || action === 'offline') {
          online = action === 'online';
          environment.hint();
        } else if (action === 'pause' || action === 'resume' || action === 'refresh') poller[action]();
      }

      gateway.health = 'works';
      online = true;
      environment.hint();
      poller.resume();
      await clock.turn(60_000);
      poller.refresh(); // what was finished may have been written to since
      await clock.turn(60_000);
      expect(wrong).toEqual([]);
      expect(readers.map(({ seen }) => seen)).toEqual(written);
      expect(gateway.most).toBeLessThanOrEqual(1 + gateway.aborted.length);
      client.close();
      expect(environment.watched).toBe(false);
      if (way === 0) expect(clock.timers).toBe(0); // else the fake keeps the requests that are on their way
    }),
    { seed: seed('polling'), numRuns: runs(120) },
  );
});
