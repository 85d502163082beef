import { afterEach, expect, test } from '@jest/globals';
import type { PollingClientOptions } from '../../client/client.js';
import { RowcastError } from '../../client/ground/error.js';
import type { Warning } from '../../client/polling/statistics.js';
import { CHANNEL } from '../property/wire.js';
import { autoStore } from '../support/auto-store.js';
import { settle } from '../support/fakes.js';
import { StoreWorld } from '../support/store-world.js';

let world: StoreWorld;
afterEach(() => world.store.close());

test('a whole channel of a million rows: End, Home and a place in the middle cost one request each, and a bounded memory', async () => {
  world = new StoreWorld(1_000_000);
  const log = world.store.log(CHANNEL);
  log.subscribe(() => {});
  await world.calm();
  const show = async (from: number) => {
    log.get().show(from, from + 30);
    await world.calm();
    return Array.from({ length: 30 }, (_, index) => log.get().at(from + index)?.seq);
  };
  const seqs = (from: number) => Array.from({ length: 30 }, (_, index) => from + 1 + index);
  expect(log.get()).toMatchObject({ status: 'live', length: 1_000_000, floor: 1, head: 1_000_000 });
  expect([await show(999_970), world.polls.length]).toEqual([seqs(999_970), 0]); // the newest are there
  expect([await show(0), world.polls.length]).toEqual([seqs(0), 1]);
  expect([await show(500_000), world.polls.length]).toEqual([seqs(500_000), 2]);
  expect(log.get().indexOf(500_000)).toBe(499_999);
});

test('a filter: matches from the newest back, with what was searched so far, until all was; new ones at the end', async () => {
  world = new StoreWorld(5_000);
  const log = world.store.log(CHANNEL, { type: ['even'] });
  const searched: number[] = [];
  log.subscribe(() => searched.push(log.get().searched?.from ?? -1));
  await world.calm();
  expect(log.get()).toMatchObject({ length: 2_500, searched: { from: 1, to: 5_000 } });
  expect([...searched].sort((a, b) => b - a).filter((from) => from > 0)).toEqual(searched.filter((from) => from > 0));
  world.gateway.head += 2;
  await world.calm();
  expect([log.get().length, log.get().seqAt(2_500), log.get().searched?.to]).toEqual([2_501, 5_002, 5_002]);
});

test('a filter on the log of an execution: the gateway searches it, some 20,000 rows with each request', async () => {
  const rows = Array.from({ length: 50_000 }, (_, index) => ({
    message: `row ${index + 1}`,
    log_level: (index + 1) % 5_000 === 0 ? 'error' : 'info',
  }));
  const { store, gateway, clock, asked } = autoStore((path) => {
    const { pathname, searchParams } = new URL(path, 'http://gateway.test');
    expect([pathname, searchParams.get('level'), searchParams.get('q')]).toEqual([
      '/executions/x/logs',
      'error',
      'ROW',
    ]);
    const before = Number(searchParams.get('before'));
    const from = Math.max(1, before - 20_000);
    const seqs = Array.from({ length: before - from }, (_, index) => before - 1 - index);
    const logs = seqs.filter((seq) => seq % 5_000 === 0).map((seq) => ({ seq, ...rows[seq - 1] }));
    return { logs, next: from > 1 ? from : null, position: 'e1.50000' };
  });
  gateway.write('execution:x', ...rows);
  const log = store.log('execution:x', { level: ['error'], q: 'ROW' });
  log.subscribe(() => {});
  await clock.turn(1_000);
  const hits = () => Array.from({ length: log.get().length }, (_, index) => log.get().at(index)?.row.message);
  expect(log.get()).toMatchObject({ length: 10, searched: { from: 1, to: 50_000 }, error: null });
  expect(hits()).toEqual(Array.from({ length: 10 }, (_, index) => `row ${(index + 1) * 5_000}`));
  expect(asked).toHaveLength(3); // and no page: what was found is kept
  gateway.write('execution:x', { message: 'row, the last', log_level: 'error' });
  await clock.turn(1_000);
  expect([log.get().length, hits().at(-1)]).toEqual([11, 'row, the last']);
  store.close();
});

test('another transport: a new client that is limited to it, and everything goes on at its position', async () => {
  world = new StoreWorld(3);
  const rows = world.store.channel(CHANNEL);
  rows.subscribe(() => {});
  await world.calm();
  const old = world.gateway;
  world.store.only(['poll']);
  expect([old.state, rows.get().status, world.made[1]?.transports]).toEqual(['closed', 'stale', ['poll']]);
  expect(world.gateway.up.map(({ request }) => request)).toEqual([]);
  await world.calm();
  expect([...(rows.get().data ?? [])].map(({ seq }) => seq)).toEqual([1, 2, 3]);
  expect(world.store.polling.get().active).toBe(true);
  world.store.polling.setIntervals({ interval: 500 });
  expect(world.made[2]).toMatchObject({ transports: ['poll'], polling: { interval: 500 } });
  world.store.only();
  expect(world.made[3]).toMatchObject({ transports: undefined });
  await world.calm();
  expect([rows.get().status, world.store.polling.get().active]).toEqual(['live', false]);
});

test('polling that fails too often: the listener of the application is told, and what shows the polling', async () => {
  const told: Warning[] = [];
  world = new StoreWorld(3, { polling: { onWarning: (warning) => told.push(warning) } });
  world.store.channel(CHANNEL).subscribe(() => {});
  world.store.only(['poll']);
  const warning: Warning = { kind: 'failureRate', value: 0.06, threshold: 0.05 };
  (world.made.at(-1) as PollingClientOptions).polling?.onWarning?.(warning);
  expect([told, world.store.polling.get().warnings]).toEqual([[warning], [warning]]);
});

test('no transport at all: nothing connects and what is shown is stale, until there is one again', async () => {
  world = new StoreWorld(3);
  const rows = world.store.channel(CHANNEL);
  rows.subscribe(() => {});
  await world.calm();
  world.store.only([]);
  await world.calm();
  expect([rows.get().status, rows.get().error?.message]).toEqual(['stale', 'unplugged']);
  expect(world.store.connection.get()).toMatchObject({ state: 'waiting', transports: [] });
  expect([world.made.length, world.gateway.state]).toEqual([1, 'closed']);
  world.store.only();
  await world.calm();
  expect([rows.get().status, [...(rows.get().data ?? [])].map(({ seq }) => seq)]).toEqual(['live', [1, 2, 3]]);
});

test('a connection that has failed for good: what is opened then fails with its error, and reconnect mends all of it', async () => {
  world = new StoreWorld(2);
  const [old, late] = [world.store.channel(CHANNEL), world.store.channel(CHANNEL, { since: 'start' })];
  old.subscribe(() => {});
  await world.calm();
  world.gateway.close(new RowcastError('unauthorized'));
  late.subscribe(() => {});
  await settle();
  expect([old, late].map((rows) => [rows.get().status, rows.get().error?.code])).toEqual([
    ['failed', 'unauthorized'],
    ['failed', 'unauthorized'],
  ]);
  expect(world.store.connection.get()).toMatchObject({ state: 'closed', error: { code: 'unauthorized' } });
  world.store.reconnect();
  await world.calm();
  expect([old, late].map((rows) => [...(rows.get().data ?? [])].length)).toEqual([2, 2]);
});
