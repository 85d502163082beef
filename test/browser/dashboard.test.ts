/** @needs chromium */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, expect, test } from '@jest/globals';
import type { Page } from 'puppeteer-core';
import { createExecution, createVenture } from '../support/api.js';
import { startTestGateway } from '../support/gateway.js';
import { load } from '../support/load.mjs';
import { until } from '../support/until.js';
import { fail, shows, textOf, useDashboard, violations } from './dashboard-world.js';

/** What a visitor loads of JavaScript, in bytes. */
const BUDGET = 160 * 1024;

/** The greatest shift of the layout while rows arrive. */
const MAX_SHIFT = 0.01;

const world = useDashboard();
let live: string;
let failed: string;
let empty: string;
beforeAll(() => fill());

/** An execution at work, one that has failed, and a venture that has none. */
async function fill(): Promise<void> {
  const { writer, venture } = world;
  live = await createExecution(writer, venture, 'running');
  failed = await createExecution(writer, venture, 'running');
  empty = await createVenture(writer, 'ann');
  await world.agents(live);
  await world.agents(failed, true);
  await writer.query(
    `INSERT INTO execution_metrics (execution_id, metric_name, metric_value) SELECT $1, 'tokens', n FROM generate_series(1, 5) n`,
    [live],
  );
}

test('the gateway serves the page to browsers, at any path that is nothing else, and a line of text at the root to others', async () => {
  const ask = async (path: string, accept: string) => {
    const response = await fetch(`${world.gateway.url}${path}`, { headers: { Accept: accept } });
    return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
  };
  for (const [path, up] of [
    ['/', './'],
    ['/gateway', './'],
    ['/e/1', '../'],
    ['/c/message:a/b', '../../'],
  ] as const) {
    const page = await ask(path, 'text/html,*/*');
    expect(page).toMatchObject({ status: 200, type: 'text/html; charset=utf-8' });
    expect(page.text).toContain(`src="${up}assets/`);
    expect(await ask(path, '*/*')).toMatchObject(
      path === '/'
        ? { status: 200, type: 'text/plain; charset=utf-8', text: expect.stringMatching(/^Rowcast, .*\n$/) }
        : { status: 404, type: 'application/json; charset=utf-8' },
    );
  }
  for (const path of ['/v1/nothing', '/api/nothing', '/assets/nothing.js']) {
    expect((await ask(path, 'text/html')).status).toBe(404);
  }
  const [, script = ''] = /src="\.\/(assets\/[^"]+)"/.exec((await ask('/', 'text/html')).text) ?? [];
  const file = await fetch(`${world.gateway.url}/${script}`);
  expect(file.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
  expect(file.headers.get('content-encoding')).toBe('gzip');
  const off = await startTestGateway(
    world.database.url,
    { ROWCAST_DASHBOARD: 'off' },
    {},
    { dashboard: world.built.folder },
  );
  expect((await fetch(off.url, { headers: { Accept: 'text/html' } })).status).toBe(404);
  await off.stop();
});

test('its JavaScript has at most 160 KB gzipped', () => {
  const files = readdirSync(join(world.built.folder, 'assets')).filter((name) => name.endsWith('.js'));
  const sizes = files.map(
    (name) => gzipSync(readFileSync(join(world.built.folder, 'assets', name)), { level: 9 }).length,
  );
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`the page: ${bytes} bytes of JavaScript gzipped, in ${files.length} files`);
  expect(bytes).toBeLessThanOrEqual(BUDGET);
});

test('a row that is inserted appears in the list and in the log, without a reload, an error, or a request to elsewhere', async () => {
  const venture = await createVenture(world.writer, 'ann');
  const { page, troubles } = await world.open(`/?venture=${venture}`);
  await shows(page, 'Nothing has happened here yet');
  const execution = await createExecution(world.writer, venture, 'running');
  await page.waitForSelector('.list__link');
  await createExecution(world.writer, venture, 'running');
  await page.waitForSelector('.rc-pill'); // a list that has rows does not move under its reader
  await page.click('.list__link');
  await shows(page, execution);
  await world.agents(execution);
  await shows(page, 'writer', '.rc-timeline');
  await world.say(execution, 'it is on the screen');
  await shows(page, 'it is on the screen', '.rc-log');
  await shows(page, ' ms', '.rc-log__row:last-child .rc-log__took');
  expect(await textOf(page, '.rc-stages')).toBe('readwrite');
  const times = () => page.$$eval('.rc-log__time time', (all) => all.map((one) => [one.dateTime, one.textContent]));
  await page.click('.bar__times');
  for (const [iso = '', text] of await times()) expect(text).toBe(iso.slice(11));
  await page.click('.bar__times');
  await page.reload();
  await shows(page, 'it is on the screen', '.rc-log');
  for (const [, text] of await times()) expect(text).toMatch(/^\d+ s ago$/);
  await fail(world.writer, execution);
  await world.writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, message, context)
     VALUES ($1, 'task-assigned', 'write it', '{"step_id":"2","agent":"writer"}')`,
    [execution],
  );
  await page.click('[data-tab="steps"]');
  await shows(page, '#2 running', '.rc-attempts');
  expect(await textOf(page, '.rc-attempts')).toMatch(/^#1 failed.*timeout after 30 s#2 running/);
  expect(
    await page.$$eval('.rc-timeline__bar', (bars) =>
      bars.map((bar) => `${bar.textContent} ${bar.getAttribute('data-state')}`),
    ),
  ).toEqual(['read it done', 'write it #1 failed', 'write it #2 running']);
  await page.setBypassCSP(true);
  expect(await violations(page)).toEqual([]);
  expect(troubles).toEqual([]);
});

/** A thousand events a second, some of which finish a step or change the stage. */
const BATCHES = 40;
const BATCH = 100;
const PAUSE = 100;
const STREAM = `
  INSERT INTO agent_execution_logs (execution_id, event_type, message, context, stage_number)
  SELECT $1, CASE WHEN n % 50 = 0 THEN 'task-completed' WHEN n % 1000 = 1 THEN 'stage-changed' ELSE 'log' END, 'row ' || n,
         CASE WHEN n % 50 = 0 THEN json_build_object('step_id', n, 'step', 'step ' || n, 'agent', 'reader', 'success', true) END,
         CASE WHEN n % 1000 = 1 THEN 1 + n / 1000 END
    FROM generate_series($2::int, $2::int + $3::int - 1) n`;

/** Notes how far the layout shifts, and what is announced. */
const WATCH = `
  globalThis.shifts = [];
  globalThis.said = [];
  new PerformanceObserver((list) => { for (const { value, sources } of list.getEntries())
    globalThis.shifts.push({ value, of: sources.map(({ node, previousRect, currentRect }) => [node?.className ?? node?.nodeName, JSON.stringify(previousRect), JSON.stringify(currentRect)].join(' ')) }); })
    .observe({ type: 'layout-shift', buffered: false });
  const region = document.querySelector('[role=status]');
  new MutationObserver(() => globalThis.said.push({ at: Date.now(), text: region.textContent }))
    .observe(region, { childList: true, characterData: true, subtree: true });
`;

test('a thousand events a second: nothing shifts, little is announced but a failure at once, and the log lets the reader go', async () => {
  const execution = await createExecution(world.writer, world.venture, 'running');
  await world.agents(execution);
  const { page, troubles } = await world.open(`/e/${execution}`);
  await shows(page, 'write it', '.rc-log');
  await page.evaluate(WATCH);
  const begun = performance.now();
  for (let count = 0; count < BATCHES; count += 1) {
    await world.writer.query(STREAM, [execution, count * BATCH, BATCH]);
    await until(() => performance.now() - begun > count * PAUSE, { what: 'the next batch' });
  }
  const took = performance.now() - begun;
  await shows(page, `row ${BATCHES * BATCH - 1}`, '.rc-log');
  const said = () => page.evaluate('globalThis.said') as Promise<{ at: number; text: string }[]>;
  const before = await said();
  // The first at once, and then one every five seconds at most.
  expect(before.length).toBeLessThanOrEqual(1 + Math.floor(took / 5_000) + 1);
  const shifts = (await page.evaluate('globalThis.shifts')) as { value: number; of: string[] }[];
  const shift = shifts.reduce((sum, { value }) => sum + value, 0);
  const worst = [...shifts].sort((one, other) => other.value - one.value).slice(0, 5);
  expect({ shift, worst: shift < MAX_SHIFT ? [] : worst }).toEqual({ shift, worst: [] });
  expect(await page.$$eval('.rc-log__row', (rows) => rows.length)).toBeLessThan(60);
  await fail(world.writer, execution);
  const failedAt = Date.now();
  await until(async () => (await said()).length > before.length, { what: 'the failure to be announced' });
  const { at = 0, text } = (await said())[before.length] ?? {};
  expect(text).toContain('timeout after 30 s');
  expect((at - failedAt) / load()).toBeLessThan(1_000);
  await page.hover('.rc-log__scroller');
  await page.mouse.wheel({ deltaY: -600 });
  await page.waitForSelector('.rc-log__follow');
  const place = () => page.$eval('.rc-log__scroller', ({ scrollTop }) => scrollTop);
  await until(async () => (await place()) > 0, { what: 'the scrolling' });
  const stood = await place();
  await world.say(execution, 'a later row');
  await shows(page, '1 new', '.rc-log');
  expect(Math.abs((await place()) - stood)).toBeLessThanOrEqual(600);
  await page.click('.rc-log__follow');
  await shows(page, 'a later row', '.rc-log');
  expect(troubles).toEqual([]);
});

/** What makes the page wider than the window. */
const TOO_WIDE = `document.documentElement.scrollWidth <= innerWidth ? '' : [...document.querySelectorAll('body *')]
  .filter((element) => element.getBoundingClientRect().right > innerWidth).map(({ className }) => className).join()`;

test('axe finds nothing on any page, in any of its states', async () => {
  const found: string[] = [];
  const { page } = await world.open(`/e/${live}`);
  await page.setBypassCSP(true);
  await shows(page, 'write it', '.rc-log');
  await world.say(live, 'one whose latency is known');
  await shows(page, 'one whose latency is known', '.rc-log');
  const look = async (path: string, state: string) => {
    found.push(...(await violations(page)).map((violation) => `${state} ${path}: ${violation}`));
    const wide = await page.evaluate(TOO_WIDE);
    if (wide !== '') found.push(`${state} ${path}: too wide: ${wide}`);
  };
  const states = [
    [`/?venture=${empty}`, 'Nothing has happened here yet'],
    [`/?venture=${world.venture}`, 'running'],
    ['/c/', 'execution:'],
    ['/c/message:empty', 'No event yet'],
    [`/c/execution:${live}`, 'task-assigned'],
    ['/gateway', 'from the INSERT to the screen'],
    ['/nowhere', 'There is no such page'],
    ['/e/00000000-0000-4000-8000-00000000dead', 'no such execution'],
    ...['log', 'errors', 'raw'].map((tab) => [`/e/${failed}?tab=${tab}`, 'timeout after 30 s'] as const),
    ...['steps', 'metrics', 'health', 'log'].map((tab) => [`/e/${live}?tab=${tab}`, 'writer'] as const),
  ] as const;
  for (const [path, what] of states) {
    // As a link within the page does: axe stays.
    await page.evaluate(`history.pushState(null, '', '${path}'); dispatchEvent(new PopStateEvent('popstate'))`);
    await shows(page, what);
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
    await page.setViewport({ width: 1280, height: 900 });
    await look(path, 'light');
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
    await page.setViewport({ width: 320, height: 800 });
    await look(path, 'dark, 320 px,');
  }
  expect(found).toEqual([]);
});

/** What has the focus, as a screen reader would call it. */
const focused = (page: Page) =>
  page.evaluate(() => {
    const element = document.activeElement as HTMLElement;
    return element.getAttribute('aria-label') ?? element.textContent ?? '';
  });

test('the tour by the keyboard alone: the list, an execution, back in its past, a search, an error, help', async () => {
  const { page, troubles } = await world.open(`/?venture=${world.venture}`);
  await page.waitForSelector('.list__link');
  const { keyboard } = page;
  await keyboard.press('Tab');
  expect(await focused(page)).toBe('Skip to the content');
  await keyboard.press('Enter');
  await keyboard.press('/');
  await keyboard.type(failed);
  await until(async () => (await page.$$('.list__link')).length === 1, { what: 'the search' });
  while (!(await focused(page)).startsWith('Execution ')) await keyboard.press('Tab');
  await keyboard.press('Enter');
  await shows(page, 'timeout after 30 s', '.rc-error');
  await page.waitForSelector('.rc-log__row[aria-selected=true][data-level=error]'); // one that has failed opens there

  const placed = (text: string) => shows(page, text, '.rc-scrubber__place');
  const [, head = ''] = /of (\d+)/.exec(await textOf(page, '.rc-scrubber__place')) ?? [];
  await placed(`${head} of ${head}`);
  await keyboard.press('[');
  await placed(`${Number(head) - 1} of ${head}`);
  await shows(page, 'running', '.rc-verdict');
  await page.waitForSelector('.rc-log__row[data-later=true]');
  expect(page.url()).toContain(`.${Number(head) - 1}`);
  await keyboard.press(']');
  await keyboard.press('l');
  await page.waitForSelector('.rc-scrubber[data-state=live]');

  await keyboard.press('e');
  await page.waitForSelector('.rc-log__row[aria-selected=true][data-level=error]');
  await keyboard.press('/');
  await keyboard.type('read');
  await shows(page, `2 hits in all ${head}`, '.rc-filters__count');
  while ((await focused(page)) !== 'Log') await keyboard.press('Tab');
  await keyboard.press('End');
  await keyboard.press('Enter');
  await page.waitForSelector('.rc-detail');
  await keyboard.press('Escape');
  await until(async () => (await page.$('.rc-detail')) === null, { what: 'the details to be closed' });

  await keyboard.press('?');
  await page.waitForSelector('dialog[open]');
  await keyboard.press('Escape');
  await until(async () => (await page.$('dialog[open]')) === null, { what: 'the help to be closed' });
  while ((await focused(page)).trim() !== 'Executions') await keyboard.press('Tab');
  await keyboard.press('Enter');
  await page.waitForSelector('.list__link');
  expect(await textOf(page, 'h1')).toBe('Executions');
  expect(troubles).toEqual([]);
});
