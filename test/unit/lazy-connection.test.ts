import { expect, test } from '@jest/globals';
import type { Connection, SessionState } from '../../client/session/connection.js';
import { LazyConnection } from '../../client/session/lazy-connection.js';
import { settle } from '../support/fakes.js';

test('code that could not be loaded is loaded again at a delay that can be seen, or at once by `reconnect`', async () => {
  const states: SessionState[] = [];
  let loads = 0;
  let started = 0;
  const loaded = {
    state: 'connecting',
    start: () => {
      started += 1;
    },
    close: () => {},
  } as unknown as Connection;
  const load = async () => {
    loads += 1;
    if (loads === 1) throw new Error('offline');
    return loaded;
  };
  const connection = new LazyConnection(load, { onState: (state) => states.push(state), onFrame() {} });
  connection.start();
  connection.reconnect(); // while the code is being loaded it changes nothing
  await settle();
  expect([loads, states]).toEqual([1, ['waiting']]);
  expect(connection.retryAt).toBeGreaterThan(Date.now() - 1);
  connection.reconnect();
  await settle();
  expect([loads, started, connection.loaded]).toEqual([2, 1, loaded]);
  connection.close();
});
