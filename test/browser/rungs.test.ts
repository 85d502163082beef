/** @needs chromium */
import { expect, test } from '@jest/globals';
import { until } from '../support/until.js';
import { type Reader, useReaders, WAYS } from './reader.js';

const { world, newPage, open } = useReaders('chromium');

/** Promises about the first event after a page was opened, in milliseconds. */
const WITHOUT_WEBSOCKET = 3_000;
const WITHOUT_STREAMS = 10_000;

/** Prints what was promised and what was measured. */
async function expectFirstEvent(reader: Reader, what: string, within: number): Promise<void> {
  const first = await reader.firstEvent();
  console.info(`first event, ${what}: ${Math.round(first)} ms`);
  expect(first).toBeLessThan(within);
}

test.each(WAYS)('I1, I2, I3: 50 channels by %s', async (by) => {
  const channels = world.channels(50);
  await world.publish(channels, 5);
  const reader = await open({ channels, by });
  await world.publishSlowly(channels, 10);
  await reader.hasEach(15);
  expect(await reader.transport()).toBe({ 'long-poll': 'poll', polling: 'poll', websocket: by, sse: by }[by]);
  await world.publish(channels, 5);
  await reader.hasEach(20);
});

test('I1, I2, I3: by WebSocket where nothing is in the way', async () => {
  const channel = world.channel();
  await world.publish(channel, 3);
  const reader = await open({ channels: [channel] });
  await world.publishSlowly(channel, 20);
  await reader.hasEach(23);
  expect(await reader.transport()).toBe('websocket');
  await expectFirstEvent(reader, 'nothing in the way', WITHOUT_WEBSOCKET);
});

test.each([
  ['forbidden to the page', 'pass'],
  ['unknown to the browser', 'pass'],
  ['refused with 403', 403],
  ['refused with 503', 503],
] as const)('I1, I2, I3: WebSocket %s: by SSE, within 3 seconds', async (what, upgrades) => {
  const channel = world.channel();
  await world.publish(channel, 3);
  const page = await newPage();
  const { url } = await world.proxy({ upgrades });
  if (what === 'unknown to the browser') await page.evaluateOnNewDocument('delete globalThis.WebSocket');
  const policy = what === 'forbidden to the page' ? { connect: 'http:' } : {};
  const reader = await open({ page, channels: [channel], gateway: url, ...policy });
  await world.publishSlowly(channel, 20);
  await reader.hasEach(23);
  expect(await reader.transport()).toBe('sse');
  await expectFirstEvent(reader, `WebSocket ${what}`, WITHOUT_WEBSOCKET);
});

test.each(['page', 'proxy'])('I1, I2, I3: SSE blocked at the %s as well: by long-poll', async (place) => {
  const channel = world.channel();
  await world.publish(channel, 3);
  const proxy = await world.proxy(place === 'proxy' ? { upgrades: 403, forbidden: /^\/v1\/sse/ } : {});
  const way = place === 'page' ? ({ by: 'long-poll' } as const) : {};
  const page = await newPage();
  const reader = await open({ page, channels: [channel], gateway: proxy.url, ...way });
  await world.publishSlowly(channel, 20);
  await reader.hasEach(23);
  expect(await reader.transport()).toBe('poll');
  await expectFirstEvent(reader, `WebSocket and SSE blocked at the ${place}`, WITHOUT_WEBSOCKET);
});

/** They take seconds each, nearly all of it waiting, so they run side by side. `buffer` in bytes. */
const SLOW_WAYS = [
  { what: 'upgrades that hang', upgrades: 'hang', buffer: 0, channels: 1, rung: 'sse' },
  { what: 'answers collected whole', upgrades: 403, buffer: Number.POSITIVE_INFINITY, channels: 1, rung: 'poll' },
  { what: '64 KiB collected', upgrades: 403, buffer: 65_536, channels: 1, rung: 'poll' },
  { what: '8 KiB collected', upgrades: 503, buffer: 8192, channels: 50, rung: 'poll' },
  { what: '4 KiB collected', upgrades: 403, buffer: 4096, channels: 1, rung: 'poll' },
  { what: 'both hangs and collects', upgrades: 'hang', buffer: Number.POSITIVE_INFINITY, channels: 1, rung: 'poll' },
] as const;

test('I1, I2, I3: behind proxies that hang and that buffer: by what is left, within 10 seconds', async () => {
  const read = async ({ what, upgrades, buffer, channels: count, rung }: (typeof SLOW_WAYS)[number]) => {
    const channels = world.channels(count);
    await world.publish(channels, 3);
    const { url } = await world.proxy({ upgrades, buffer });
    const reader = await open({ channels, gateway: url });
    await until(async () => (await reader.transport()) === rung, { deadlineMs: 15_000, what: `${what}: ${rung}` });
    await reader.hasEach(3);
    await expectFirstEvent(reader, what, WITHOUT_STREAMS);
    await world.publishSlowly(channels, 10);
    await reader.hasEach(13);
    expect(await reader.transport()).toBe(rung);
  };
  await Promise.all(SLOW_WAYS.map(read));
});

test('I1, I2, I3: a better rung is tried again when the network changes, and taken over while events come', async () => {
  const channel = world.channel();
  await world.publish(channel, 3);
  const proxy = await world.proxy({ upgrades: 403, forbidden: /^\/v1\/sse/ });
  const page = await newPage();
  const reader = await open({ page, channels: [channel], gateway: proxy.url });
  await reader.hasEach(3);
  expect(await reader.transport()).toBe('poll');
  let published = 3;
  for (const rung of ['sse', 'websocket'] as const) {
    if (rung === 'sse') proxy.forbidden = null;
    else proxy.upgrades = 'pass';
    await page.evaluate("dispatchEvent(new Event('online'))");
    published += await world.publishDuring(channel, () =>
      until(async () => (await reader.transport()) === rung, { deadlineMs: 15_000, what: rung }),
    );
    await world.publishSlowly(channel, 10);
    published += 10;
    await reader.hasEach(published);
  }
  // Never without a connection.
  const states = (await page.evaluate('page.states')) as string[];
  expect(states.slice(states.indexOf('connected'))).toEqual(['connected', 'connected', 'connected']);
});
