/** @needs chromium firefox */
import { describe, test } from '@jest/globals';
import { until } from '../support/until.js';
import { type Engine, useBrowser } from './browser.js';
import { Reader } from './reader.js';
import { useWorld } from './world.js';

const world = useWorld();

describe.each<Engine>(['chromium', 'firefox'])('%s', (engine) => {
  const browser = useBrowser(engine);

  test('I1, I2, I3: the EventSource of the browser comes back by Last-Event-ID wherever it is cut', async () => {
    const channels = world.channels(3);
    await world.publish(channels, 100);
    const network = await world.network();
    const query = new URLSearchParams([...channels.map((channel) => ['channel', channel]), ['since', 'start']]);
    const source = network.via(`${world.gateway.url}/v1/sse?${query}`);
    const page = await browser.newPage();
    const reader = await Reader.openSource({ page, pages: world.pages, source, channels });
    await reader.atLeast(100);
    const published = await world.publishDuring(channels, async () => {
      for (const bytes of [3_000, 7_777, 0]) {
        const opened = (await reader.page.evaluate('page.opened')) as number;
        if (bytes === 0) network.reset();
        else network.cutAfter(bytes, 'down'); // in the middle of an event, most likely
        await until(async () => ((await reader.page.evaluate('page.errors')) as number) >= opened, {
          what: 'the stream to be cut',
        });
        network.heal();
        await until(async () => ((await reader.page.evaluate('page.opened')) as number) > opened, {
          what: 'the stream to be back',
        });
      }
    });
    await reader.hasEach(100 + published);
  });
});
