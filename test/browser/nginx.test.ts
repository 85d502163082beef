/** @needs chromium nginx */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { packageRoot } from '../../server/ground/package-root.js';
import { seqs } from '../support/follow.js';
import { type Nginx, startNginx } from '../support/nginx.js';
import { until } from '../support/until.js';
import { useReaders } from './reader.js';

/** Pages of 8 KiB, so that a few hundred events are many. */
const { world, newPage, open } = useReaders('chromium', {
  ROWCAST_CACHE: 'public',
  ROWCAST_PAGE_BYTES: '8192',
  ROWCAST_TRUST_PROXY: '1',
});

/** From an INSERT through nginx to the page, in milliseconds: less than what buffering would add. */
const PASSED_ON = 2_000;

const gateway = () => new URL(world.gateway.url).host;

const unaware: Nginx[] = [];
afterEach(async () => {
  await Promise.all(unaware.splice(0).map((nginx) => nginx.close()));
});

/** An nginx whose owner has thought of nothing but where to pass requests, and of what `more` says; for the running test. */
async function startUnaware(more = ''): Promise<string> {
  const pass = `location / { proxy_pass http://${gateway()}; ${more} }`;
  const nginx = await startNginx((port) => `server { listen 127.0.0.1:${port}; ${pass} }`);
  unaware.push(nginx);
  return nginx.url;
}

let nginx: Nginx;
beforeAll(async () => {
  const page = readFileSync(join(packageRoot(), 'docs/operations/proxies.md'), 'utf8');
  const documented = /```nginx\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
  nginx = await startNginx((port, folder) =>
    documented
      .replace('listen 80;', `listen 127.0.0.1:${port};`)
      .replace('127.0.0.1:4400', gateway())
      .replace('/var/cache/nginx/rowcast', folder),
  );
});
afterAll(() => nginx?.close());

test.each(['/v1/channels', '/api/openapi.json', '/api/docs/'])(
  '%s reaches the gateway through nginx as documented',
  async (path) => {
    const [direct, proxied] = await Promise.all(
      [`http://${gateway()}`, nginx.url].map((url) => fetch(`${url}${path}`)),
    );
    expect(proxied?.status).toBe(direct?.status);
    expect(await proxied?.text()).toBe(await direct?.text());
  },
);

test.each(['websocket', 'sse', 'long-poll'] as const)('I1, I2, I3: %s passes nginx as documented', async (by) => {
  const channels = world.channels(3);
  await world.publish(channels, 3);
  const page = await newPage();
  const reader = await open({ page, channels, gateway: nginx.url, by });
  await reader.hasEach(3);
  for (let count = 4; count <= 10; count++) {
    await world.publish(channels, 1);
    await reader.hasEach(count, PASSED_ON);
  }
  const states = (await page.evaluate('page.states')) as string[];
  expect(states.slice(states.indexOf('connected'))).toEqual(['connected']);
});

test('I1, I2, I3: nginx as documented serves pages of history from its cache, and only to the same token', async () => {
  const channel = world.channel();
  await world.publish(channel, 500);
  const { positions } = await poll(`channel=${channel}&since=0&wait=0`);
  const epoch = positions[channel]?.split('.')[0] ?? '';

  const read = async (token = '') => {
    const events: number[] = [];
    const caches: (string | null)[] = [];
    for (let since = `${epoch}.0`; ; ) {
      const answer = await poll(`channel=${channel}&since=${since}&wait=0`, token);
      if (answer.frames.length === 0) return { events, caches };
      caches.push(answer.cache);
      for (const frame of answer.frames) events.push(...frame.events.map((_, index) => frame.from + index));
      since = answer.positions[channel] ?? '';
    }
  };
  for (const token of ['', 'another']) {
    const [first, second] = [await read(token), await read(token)];
    expect([first.events, second.events]).toEqual([seqs(1, 500), seqs(1, 500)]);
    expect(new Set(first.caches)).toEqual(new Set(['MISS']));
    // The last page is not full, and will be another one.
    expect(second.caches.slice(0, -1)).toEqual(second.caches.slice(0, -1).map(() => 'HIT'));
    expect(second.caches.length).toBeGreaterThan(5);
    expect(second.caches.at(-1)).toBe('MISS');
  }
});

test('nginx as documented takes the positions of 100 channels with long names in one header', async () => {
  const names = Array.from({ length: 100 }, (_, index) => `message:${'long'.repeat(60)}${index}`);
  const positions = names.map((name) => `${encodeURIComponent(name)}=start`).join('&');
  const leaving = new AbortController();
  const response = await fetch(`${nginx.url}/v1/sse`, {
    headers: { 'Last-Event-ID': positions },
    signal: leaving.signal,
  });
  expect(response.status).toBe(200);
  expect(response.headers.get('Content-Type')).toMatch(/^text\/event-stream/);
  await until(async () => (await world.metric('subscriptions')) === names.length, { what: '100 subscriptions' });
  leaving.abort();
});

test('I1, I2, I3: an nginx that was told nothing lets SSE pass', async () => {
  const url = await startUnaware();
  const channel = world.channel();
  await world.publish(channel, 3);
  const reader = await open({ channels: [channel], gateway: url });
  await world.publishSlowly(channel, 20);
  await reader.hasEach(23);
  expect(await reader.transport()).toBe('sse');
});

test('I1, I2, I3: behind an nginx that buffers by all means: by long-poll, within 10 seconds', async () => {
  const url = await startUnaware('proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;');
  const channel = world.channel();
  await world.publish(channel, 3);
  const reader = await open({ channels: [channel], gateway: url });
  await until(async () => (await reader.transport()) === 'poll', { what: 'long-poll' });
  await reader.hasEach(3);
  const first = await reader.firstEvent();
  console.info(`first event, nginx that buffers: ${Math.round(first)} ms`);
  expect(first).toBeLessThan(10_000);
  await world.publishSlowly(channel, 20);
  await reader.hasEach(23);
});

interface Answer {
  readonly frames: readonly { readonly from: number; readonly events: readonly unknown[] }[];
  readonly positions: Record<string, string>;
}

async function poll(query: string, token = ''): Promise<Answer & { readonly cache: string | null }> {
  const headers: Record<string, string> = token === '' ? {} : { Authorization: `Bearer ${token}` };
  const response = await fetch(`${nginx.url}/v1/poll?${query}`, { headers });
  expect(response.status).toBe(200);
  return { ...((await response.json()) as Answer), cache: response.headers.get('X-Cache') };
}
