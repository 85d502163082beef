import { expect, test } from '@jest/globals';
import { workerRoutes } from '../../server/engine/api/workers.js';
import { databaseOf, FakeClock, settle } from '../support/fakes.js';

const BODY = { worker: 'w', agent_types: ['a'], wait: 5 };

test('I6: a claim leaves neither a timer nor a listener, whether it fails or ends', async () => {
  const clock = new FakeClock();
  const listeners = new Set<() => void>();
  const onRows = (_: string, listener: () => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  let fails = true;
  const database = databaseOf(async () => {
    if (fails) throw new Error('the database is away');
    return [{ schema: 'public', result: null }] as never;
  });
  const claim = () => {
    const input = { params: {}, query: {}, headers: {}, body: BODY, path: '', database, searching: database };
    const principal = { subject: 's', role: 'service_role', claims: '{}', expiresAt: null } as const;
    return workerRoutes({ onRows, clock })[0]?.handle({ ...input, principal, gone: () => false });
  };
  await expect(claim()).rejects.toThrow('the database is away');
  expect([clock.timers, listeners.size]).toEqual([0, 0]);

  fails = false;
  const claimed = claim();
  await settle();
  for (const listener of [...listeners]) for (let row = 0; row < 3; row += 1) listener();
  await clock.turn(5_000);
  expect(await claimed).toEqual({ status: 200, body: { task: null } });
  expect([clock.timers, listeners.size]).toEqual([0, 0]);
});
