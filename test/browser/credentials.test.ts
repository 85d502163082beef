/** @needs chromium */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { signWith } from '../support/issuer.js';
import { until } from '../support/until.js';
import { type Pages, servePages } from './pages.js';
import { Reader, useReaders } from './reader.js';

const SECRET = 'a secret of at least thirty-two characters';
const COOKIE = 'login';

const { world, newPage, open } = useReaders('chromium', ({ origin }) => ({
  ROWCAST_JWT_SECRET: SECRET,
  ROWCAST_ORIGINS: origin,
  ROWCAST_COOKIE: COOKIE,
}));

/** Pages of the same site, so that the browser sends them its cookies, that nobody has admitted. */
let foreign: Pages;
beforeAll(async () => {
  foreign = await servePages();
});
afterAll(() => foreign.close());

const sign = signWith(Buffer.from(SECRET), { alg: 'HS256' });
const token = () => sign({ role: 'service_role' });
/** Of one site with the pages. */
const gateway = () => world.gateway.url.replace('127.0.0.1', 'localhost');
const sourceOf = (channel: string, url = gateway()) => `${url}/v1/sse?channel=${channel}&since=start`;

/** A page in a browser whose user has logged in. */
async function loggedIn() {
  const page = await newPage();
  await page.browserContext().setCookie({ name: COOKIE, value: await token(), domain: 'localhost', httpOnly: true });
  return page;
}

test('I1, I2, I3: an EventSource reads with a ticket, which is good once, and goes on with a new one', async () => {
  const channel = world.channel();
  await world.publish(channel, 5);
  const network = await world.network();
  const source = network.via(sourceOf(channel, world.gateway.url));
  const page = await newPage();
  const options = { page, pages: world.pages, source, channels: [channel], token: await token() };
  const reader = await Reader.openSource(options);
  await reader.hasEach(5);
  expect(await page.evaluate('fetch(page.address).then(({ status }) => status)')).toBe(401);
  const published = await world.publishDuring(channel, async () => {
    await reader.atLeast(20);
    network.cutAfter(1_000, 'down');
    // It tries once more by itself, with the ticket that it has used.
    await until(async () => (await page.evaluate('page.source.readyState')) === 2, {
      deadlineMs: 5_000,
      what: 'the EventSource to give up',
    });
    network.heal();
    const before = await reader.total();
    await page.evaluate('page.open()');
    await reader.atLeast(before + 20);
  });
  await reader.hasEach(5 + published);
});

test('I1, I2, I3: who has logged in by cookie reads on pages of an admitted origin, on each way and by EventSource', async () => {
  const channel = world.channel();
  await world.publish(channel, 5);
  const page = await loggedIn();
  const source = sourceOf(channel);
  const readers = await Promise.all([
    ...(['websocket', 'sse', 'long-poll'] as const).map((by) =>
      open({ channels: [channel], gateway: gateway(), by, cookies: true }),
    ),
    Reader.openSource({ page, pages: world.pages, source, channels: [channel], credentials: 'include' }),
  ]);
  await world.publishSlowly(channel, 10);
  await Promise.all(readers.map((reader) => reader.hasEach(15)));
});

test('I5: a page of another origin gets nothing with the cookie of who has logged in', async () => {
  const channel = world.channel();
  const page = await loggedIn();
  await world.publish(channel, 5);
  const client = await open({ page, pages: foreign, channels: [channel], gateway: gateway(), cookies: true });
  await until(async () => (await page.evaluate('page.states.includes("waiting: unavailable")')) === true, {
    what: 'all ways to have failed',
  });
  expect([await client.total(), await world.metric('connections')]).toEqual([0, 0]);

  const options = { page: await loggedIn(), pages: foreign, source: sourceOf(channel), channels: [channel] };
  const source = await Reader.openSource({ ...options, credentials: 'include' });
  await until(async () => (await source.page.evaluate('page.source.readyState')) === 2, {
    what: 'the EventSource to give up',
  });
  expect(await source.total()).toBe(0);
  // Nor can it get a ticket.
  const ticket = `fetch('${gateway()}/v1/tickets', { method: 'POST', credentials: 'include' }).then(() => 'answered', () => 'kept from it')`;
  expect(await source.page.evaluate(ticket)).toBe('kept from it');
});
