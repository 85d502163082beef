import { expect, test } from '@jest/globals';
import { type Latency, LatencyMeter } from '../../client/store/latency.js';
import { FakeClock } from '../support/fakes.js';

test('latency is taken apart, with clocks that are an hour apart, and says how sure that is', async () => {
  const clock = new FakeClock();
  const shown: Latency[] = [];
  const platform = {
    clock,
    frame: (task: () => void) => clock.after(16, task),
    hidden: () => false,
    connect: () => {
      throw new Error('nothing connects');
    },
  };
  const meter = new LatencyMeter(
    platform,
    () => 4,
    (latency) => shown.push(latency),
  );
  const apart = 3_600_000;
  for (const wire of [2, 2, 2, 12]) {
    const sent = clock.now() + apart - wire;
    meter.take({ written: sent - 4, read: sent - 1, sent });
    meter.take({ written: null, read: sent - 1, sent }); // a table without a time
    await clock.turn(16);
  }
  const same = (ms: number) => ({ p50: ms, p95: ms, p99: ms });
  expect(shown.at(-1)).toEqual({
    written: same(3),
    read: same(1),
    wire: { p50: 2, p95: 12, p99: 12 },
    paint: same(16),
    total: { p50: 22, p95: 32, p99: 32 },
    samples: 4,
    uncertainty: 2,
  });
});
