/** @needs chromium */
import { expect, test } from '@jest/globals';
import type { Page } from 'puppeteer-core';
import { until } from '../support/until.js';
import { type Reader, useReaders } from './reader.js';

const { world, newPage, open } = useReaders('chromium');

const connections = () => world.metric('connections');

/** So many tabs; all read the first channel, and each one of its own. The first tab has begun when the others open. */
async function openTabs(count: number): Promise<{ readers: Reader[]; channels: string[] }> {
  const [common = '', ...own] = world.channels(count + 1);
  const readers: Reader[] = [];
  for (const channel of own) {
    const page = await newPage();
    const reader = await open({ page, channels: [common, channel], share: 'test' });
    readers.push(reader);
    await until(async () => (await page.evaluate('page.client.state')) === 'connected', {
      what: 'a tab to be connected',
    });
  }
  return { readers, channels: [common, ...own] };
}

test.each([2, 5])('I1, I2, I3: %i tabs share one connection', async (count) => {
  const { readers, channels } = await openTabs(count);
  await world.publishSlowly(channels, 20);
  await Promise.all(readers.map((reader) => reader.hasEach(20)));
  expect(await connections()).toBe(1);
});

/** Ways in which a tab goes. */
const GO: Record<string, (page: Page) => Promise<unknown>> = {
  'is closed': (page) => page.close(),
  crashes: async (page) => {
    const devtools = await page.createCDPSession();
    devtools.send('Page.crash').catch(() => {}); // it is never answered
  },
  'goes elsewhere': (page) => page.goto(`${world.pages.origin}/elsewhere.html`),
  'is frozen': async (page) => {
    const devtools = await page.createCDPSession();
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
  },
};

test.each(Object.keys(GO))('I1, I2, I3: the leading tab %s while events come, and another takes over', async (how) => {
  const { readers, channels } = await openTabs(3);
  const [leader, ...others] = readers;
  const published = await world.publishDuring(channels, async () => {
    await Promise.all(others.map((reader) => reader.atLeast(20)));
    await GO[how]?.(leader?.page as Page);
    const totals = await Promise.all(others.map((reader) => reader.total()));
    await Promise.all(others.map((reader, index) => reader.atLeast((totals[index] ?? 0) / 2 + 20)));
  });
  await Promise.all(others.map((reader) => reader.hasEach(published)));
  expect(await connections()).toBe(1);
});

test('I1, I2, I3: a tab that comes out of the back/forward cache shares again', async () => {
  const { readers, channels } = await openTabs(2);
  const [leader, other] = readers as [Reader, Reader];
  await world.publishSlowly(channels, 10);
  await Promise.all(readers.map((reader) => reader.hasEach(10)));
  await leader.page.goto(`${world.pages.origin}/elsewhere.html`);
  await world.publishSlowly(channels, 20);
  await other.hasEach(30);
  await leader.page.goBack();
  expect(await leader.page.evaluate('page.restored')).toBe(true);
  await world.publishSlowly(channels, 10);
  await Promise.all(readers.map((reader) => reader.hasEach(40)));
  expect(await connections()).toBe(1);
});
