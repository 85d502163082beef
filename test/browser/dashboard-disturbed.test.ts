/** @needs chromium */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Page } from 'puppeteer-core';
import { freePort } from '../../server/ground/free-port.js';
import { createExecution, JWT_SECRET, tokenFor } from '../support/api.js';
import { NO_RATES } from '../support/gateway.js';
import { load } from '../support/load.mjs';
import { type GatewayProcess, killAll, startGatewayProcess } from '../support/process.js';
import { type HttpProxy, startHttpProxy } from '../support/proxy-http.js';
import { until } from '../support/until.js';
import { end, shows, textOf, useDashboard, violations } from './dashboard-world.js';

/** The gateway would end a connection whose token has expired after 30 seconds: the page has to see it by itself. */
const VALUES = { jwtClockTolerance: 0 };

let mortal: GatewayProcess;
let proxy: HttpProxy;
/** Starts the gateway that is killed, at the same port as before. */
let start: () => Promise<GatewayProcess>;

// Before those of the world, which drop the database.
afterAll(async () => {
  await proxy?.close();
  killAll();
});

/** How long the token that expires is good for, on a machine with nothing else to do, in seconds. */
const BRIEFLY = 4;
/** A clock that is ahead, so that the page does not wait for the tolerance. */
const AHEAD = 'const now = Date.now; Date.now = () => now() + 5_500';

const world = useDashboard({ ROWCAST_JWT_SECRET: JWT_SECRET }, VALUES);

beforeAll(async () => {
  const settings = { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET, ROWCAST_PORT: `${await freePort()}` };
  start = () => startGatewayProcess(world.database.url, settings, VALUES);
  mortal = await start();
  // The page itself comes from the other gateway: one that runs from source has none.
  proxy = await startHttpProxy(mortal.url, { prefix: '/live', pages: world.gateway.url });
});
/** Sets a token, as if it had been entered, and opens an execution. */
async function open(root: string, execution: string, token: string, before = ''): Promise<Page> {
  const page = await world.newPage();
  await page.evaluateOnNewDocument(
    `sessionStorage.getItem('rowcast token') ?? sessionStorage.setItem('rowcast token', '${token}'); ${before}`,
  );
  await page.goto(`${root}/e/${execution}`);
  return page;
}

/** What is shown of the execution, without what is of the connection itself: what arrived over it, and how long it took. */
const content = (page: Page) =>
  page.evaluate(() => {
    const copy = document.querySelector('.rc-execution')?.cloneNode(true) as HTMLElement;
    for (const own of copy.querySelectorAll('.rc-proof, .rc-log__took')) own.remove();
    return copy.textContent;
  });

/** Also in a tab that is behind another one. */
const click = (page: Page, selector: string) => page.$eval(selector, (element) => (element as HTMLElement).click());

const stateOf = (page: Page) =>
  page.$eval('.rc-execution', (element) => (element as HTMLElement).dataset.state).catch(() => null);
const becomes = (page: Page, state: string) =>
  until(async () => (await stateOf(page)) === state, { what: `a page that is ${state}` });

test('a page ends as one that saw all of it: kill -9, no WebSocket, a revoked right, an expired token, two tabs, a reload, the plug pulled', async () => {
  const { writer, venture } = world;
  await writer.query(`INSERT INTO venture_members VALUES ($1, 'bea', 'viewer')`, [venture]);
  const execution = await createExecution(writer, venture, 'running');
  await world.agents(execution);
  const [ann, bea] = await Promise.all([tokenFor('ann'), tokenFor('bea')]);
  const prefixed = `${proxy.url}/live`;
  const [undisturbed, tab, otherTab, blocked, reloaded, revoked] = await Promise.all([
    open(world.gateway.url, execution, ann),
    open(prefixed, execution, ann),
    open(prefixed, execution, ann),
    open(prefixed, execution, ann, 'delete globalThis.WebSocket'),
    open(prefixed, execution, ann),
    open(prefixed, execution, bea),
  ]);
  const others = [undisturbed, tab, otherTab, blocked, reloaded, revoked];
  await Promise.all(others.map((page) => shows(page, 'write it', '.rc-log')));
  expect(await textOf(blocked, '.bar .rc-connection')).toContain('event stream');
  await world.say(execution, 'first');
  await Promise.all(others.map((page) => shows(page, 'first', '.rc-log')));
  // When the others are there: nothing but this page has to happen in time.
  const token = await tokenFor('ann', {}, `${BRIEFLY * Math.ceil(load())}s`);
  const expired = await open(prefixed, execution, token, AHEAD);
  const pages = [...others, expired];
  await shows(expired, 'first', '.rc-log');

  await click(tab, '.rc-proof button'); // pulls the plug
  await shows(tab, 'unplugged', '.bar');
  await Promise.all([writer.query(`DELETE FROM venture_members WHERE user_id = 'bea'`), reloaded.reload()]);
  await becomes(revoked, 'failed');
  await becomes(expired, 'stale');
  await expired.waitForSelector('.token__field');

  await mortal.kill('SIGKILL');
  await Promise.all([tab, otherTab, blocked].map((page) => becomes(page, 'stale')));
  await tab.setBypassCSP(true);
  expect(await violations(tab)).toEqual([]);
  await world.say(execution, 'while it was gone');
  mortal = await start();

  await writer.query(`INSERT INTO venture_members VALUES ($1, 'bea', 'viewer')`, [venture]);
  await click(revoked, '.rc-stale button');
  await expired.bringToFront();
  await expired.click('.token__field', { count: 3 });
  await expired.keyboard.type(ann);
  await expired.keyboard.press('Enter');
  await world.say(execution, 'after it');
  await end(writer, execution, 'completed');
  await Promise.all(pages.map((page) => shows(page, 'execution is completed', '.rc-log')));
  const wanted = await content(undisturbed);
  expect(wanted).toContain('while it was gone');
  for (const page of pages) {
    await until(async () => (await content(page)) === wanted, { what: 'the same text' });
  }
  expect(await textOf(tab, '.rc-proof')).toContain('0 missing · 0 twice');
});
