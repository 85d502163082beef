/** @needs firefox */
import { expect, test } from '@jest/globals';
import { until } from '../support/until.js';
import { type Reader, type ReaderOptions, useReaders } from './reader.js';

const { world, open } = useReaders('firefox');

interface Case extends Pick<ReaderOptions, 'connect' | 'by'> {
  readonly what: string;
  readonly upgrades?: 'pass' | 403;
  readonly transport: string;
}

test.each<Case>([
  { what: 'nothing in the way: by WebSocket', transport: 'websocket' },
  { what: 'WebSocket forbidden to the page: by SSE', connect: 'http:', transport: 'sse' },
  { what: 'WebSocket refused with 403: by SSE', upgrades: 403, transport: 'sse' },
  { what: 'only polls allowed: by long-poll', by: 'long-poll', transport: 'poll' },
])('I1, I2, I3: $what, within 3 seconds', async ({ what, transport, upgrades = 'pass', ...way }) => {
  const channels = world.channels(50);
  await world.publish(channels, 3);
  const { url } = await world.proxy({ upgrades });
  const reader = await open({ channels, gateway: url, ...way });
  await world.publishSlowly(channels, 20);
  await reader.hasEach(23);
  expect(await reader.transport()).toBe(transport);
  const first = await reader.firstEvent();
  console.info(`first event, ${what}: ${Math.round(first)} ms`);
  expect(first).toBeLessThan(3_000);
});

test('I1, I2, I3: two tabs share one connection, and the second goes on when the first is closed', async () => {
  const channels = world.channels(2);
  const readers: Reader[] = [];
  for (let tab = 0; tab < 2; tab++) {
    const reader = await open({ channels, share: 'test' });
    readers.push(reader);
    await until(async () => (await reader.transport()) === 'tabs', { what: 'a tab to share' });
  }
  const [first, second] = readers as [Reader, Reader];
  await world.publish(channels, 5);
  await Promise.all(readers.map((reader) => reader.hasEach(5)));
  expect(await world.metric('connections')).toBe(1);
  const published = await world.publishDuring(channels, async () => {
    await second.atLeast(20);
    await first.page.close();
    await second.atLeast(60);
  });
  await second.hasEach(5 + published);
  expect(await world.metric('connections')).toBe(1);
});
