import { afterEach, expect, jest, test } from '@jest/globals';
import { AgentWorker } from '../../server/engine/worker.js';
import { databaseOf, silent } from '../support/fakes.js';

afterEach(() => void jest.useRealTimers());

test('E25: a worker that stops says so last: what it is still saying is committed before', async () => {
  jest.useFakeTimers();
  const committed: unknown[] = [];
  let commit: (() => void) | undefined;
  let slow = false;
  const database = databaseOf(async (text, values) => {
    if (!text.includes('worker_carries')) return [{ schema: 'public', result: null }] as never;
    if (slow) {
      slow = false;
      await new Promise<void>((resolve) => {
        commit = resolve;
      });
    }
    committed.push(values[2]);
    return [{ result: null }] as never;
  });
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
