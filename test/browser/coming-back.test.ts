/** @needs chromium */
import { expect, test } from '@jest/globals';
import { until } from '../support/until.js';
import { useReaders, WAYS } from './reader.js';

const { world, newPage, open } = useReaders('chromium', { ROWCAST_HEARTBEAT: '2000' });

test('I1, I2, I3: offline and back while events come, on each way', async () => {
  const channel = world.channel();
  await world.publish(channel, 3);
  // What Chromium calls offline lets streams go on that stand already.
  const network = await world.network();
  const gateway = network.via(world.gateway.url);
  const readers = await Promise.all(WAYS.map(async (by) => open({ channels: [channel], gateway, by })));
  await Promise.all(readers.map((reader) => reader.hasEach(3)));
  network.swallow('both');
  await Promise.all(readers.map(({ page }) => page.setOfflineMode(true)));
  await world.publishSlowly(channel, 50);
  for (const reader of readers) expect(await reader.total()).toBe(3);
  network.heal();
  await Promise.all(readers.map(({ page }) => page.setOfflineMode(false)));
  await world.publishSlowly(channel, 10);
  await Promise.all(readers.map((reader) => reader.hasEach(63)));
});

test('I1, I2, I3: a page that was frozen goes on', async () => {
  const channel = world.channel();
  await world.publish(channel, 3);
  const page = await newPage();
  const reader = await open({ page, channels: [channel] });
  await reader.hasEach(3);
  const devtools = await page.createCDPSession();
  await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
  await world.publishSlowly(channel, 50);
  await devtools.send('Page.setWebLifecycleState', { state: 'active' });
  await world.publish(channel, 5);
  await reader.hasEach(58);
});

test.each(WAYS)('I1, I2, I3: a page comes out of the back/forward cache, reading by %s', async (by) => {
  const channel = world.channel();
  await world.publish(channel, 3);
  const page = await newPage();
  const reader = await open({ page, channels: [channel], by });
  await reader.hasEach(3);
  await page.goto(`${world.pages.origin}/elsewhere.html`);
  await until(async () => (await world.metric('connections')) === 0, { what: 'the connection to be given up' });
  await world.publish(channel, 50);
  await page.goBack();
  expect(await page.evaluate('page.restored')).toBe(true);
  await world.publish(channel, 5);
  await reader.hasEach(58);
});

test('I1, I2, I3: a tab closed in the middle is opened anew at the position that it kept', async () => {
  const channel = world.channel();
  const options = { channels: [channel], name: 'kept' };
  const first = await newPage();
  const begun = await open({ page: first, ...options });
  let reader = begun;
  const published = await world.publishDuring(channel, async () => {
    await begun.atLeast(20);
    await first.close();
    reader = await open(options);
    expect(await reader.total()).toBeGreaterThanOrEqual(20);
    await reader.atLeast(60);
  });
  await reader.hasEach(published);
});
