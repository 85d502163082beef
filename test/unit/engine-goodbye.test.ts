import { afterEach, expect, jest, test } from '@jest/globals';
import { AgentWorker } from '../../server/engine/worker.js';
import type { Database } from '../../server/ports/database.js';
import { silent } from '../support/fakes.js';

afterEach(() => void jest.useRealTimers());

test('E25: a worker that stops says so last: what it is still saying is committed before', async () => {
  jest.useFakeTimers();
  const committed: unknown[] = [];
  let commit: (() => void) | undefined;
  let slow = false;
  const database: Database = {
    transaction: (work) =>
      work({
        query: async (text, values) => {
          if (!text.includes('worker_carries')) return [{ schema: 'public', result: null }] as never;
          if (slow) {
            slow = false;
            await new Promise<void>((resolve) => {
              commit = resolve;
            });
          }
          committed.push(values[2]);
          return [{ result: null }] as never;
        },
        asService: async () => [],
      }),
  };
  const worker = new AgentWorker(database, {
    agents: { a: { run: () => null } },
    carrier: {
      name: 'test',
      send: async () => {},
      consume: async () => ({ stop: async () => {} }),
      close: async () => {},
    },
    logger: silent,
  });
  await worker.start();
  slow = true;
  await jest.advanceTimersByTimeAsync(10_000);
  expect(commit).toBeDefined();
  const stopping = worker.stop();
  await jest.advanceTimersByTimeAsync(100);
  commit?.();
  await stopping;
  expect(committed).toEqual(['{"a":1}', '{"a":1}', '{}']);
});
