/** @needs chromium */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Page } from 'puppeteer-core';
import type { LocalGateway } from '../../server/gateway.js';
import { createExecution, createVenture } from '../support/api.js';
import { type BuiltDashboard, buildDashboard } from '../support/dashboard.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { useBrowser } from './browser.js';

/** What a visitor loads of JavaScript, in bytes. */
const BUDGET = 160 * 1024;

/** The greatest shift of the layout while rows arrive. */
const MAX_SHIFT = 0.01;

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let database: TestDatabase;
let gateway: LocalGateway;
let writer: pg.Pool;
let built: BuiltDashboard;
let venture: string;
const browser = useBrowser('chromium');

beforeAll(async () => {
  [database, built] = await Promise.all([createDatabase(), buildDashboard()]);
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  gateway = await startTestGateway(database.url, NO_RATES, {}, { dashboard: built.folder });
  venture = await createVenture(writer, 'ann');
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await Promise.all([database.drop(), built.remove()]);
});

/** Steps of two agents: the first done, the second at work, or failed. */
async function agents(execution: string, failed = false): Promise<void> {
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, message, context, log_level) VALUES
       ($1, 'execution-planned', 'the plan', '{"stages":[{"name":"read","steps":2},{"name":"write","steps":2}]}', 'info'),
       ($1, 'task-assigned', 'read it', '{"step_id":"1","step":"read it","agent":"reader"}', 'info'),
       ($1, 'task-completed', 'read it', '{"step_id":"1","step":"read it","agent":"reader","success":true,"duration_ms":1200}', 'info'),
       ($1, 'task-assigned', 'write it', '{"step_id":"2","step":"write it","agent":"writer"}', 'warning')`,
    [execution],
  );
  if (!failed) return;
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, log_level, message, context) VALUES
       ($1, 'task-failed', 'error', 'write it', '{"step_id":"2","step":"write it","agent":"writer","error":"timeout after 30 s"}')`,
    [execution],
  );
  await writer.query(`UPDATE agent_executions SET status = 'failed' WHERE execution_id = $1`, [execution]);
}

const say = (execution: string, message: string) =>
  writer.query('INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, $2)', [execution, message]);

/** A page that tells of every error, and of every request to elsewhere. */
async function openPage(path: string): Promise<{ page: Page; troubles: string[] }> {
  const page = await browser.newPage();
  const troubles: string[] = [];
  page.on('pageerror', (error) => troubles.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && troubles.push(message.text()));
  page.on('response', (response) => response.status() === 404 && troubles.push(response.url()));
  page.on('request', (request) => {
    if (!request.url().startsWith(gateway.url)) troubles.push(`a request to ${request.url()}`);
  });
  await page.setBypassCSP(false);
  await page.goto(`${gateway.url}${path}`);
  return { page, troubles };
}

const textOf = (page: Page, selector = 'body') => page.$eval(selector, (element) => element.textContent ?? '');
const shows = (page: Page, text: string, selector = 'body') =>
  until(async () => (await textOf(page, selector).catch(() => '')).includes(text), {
    what: `the page to show ${text}`,
  });

/** What axe finds, as `rule: selector`. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { target: string[] }[] }[] }> };
    };
    const { violations } = await axe.run();
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(' ')}`));
  });
}

test('the gateway serves the page to browsers, at any path that is nothing else, and nothing to others', async () => {
  const ask = async (path: string, accept: string) => {
    const response = await fetch(`${gateway.url}${path}`, { headers: { Accept: accept } });
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
    expect(await ask(path, '*/*')).toMatchObject({ status: 404, type: 'application/json; charset=utf-8' });
  }
  for (const path of ['/v1/nothing', '/api/nothing', '/assets/nothing.js']) {
    expect((await ask(path, 'text/html')).status).toBe(404);
  }
  const [, script = ''] = /src="\.\/(assets\/[^"]+)"/.exec((await ask('/', 'text/html')).text) ?? [];
  const file = await fetch(`${gateway.url}/${script}`);
  expect(file.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
  expect(file.headers.get('content-encoding')).toBe('gzip');
  const off = await startTestGateway(database.url, { ROWCAST_DASHBOARD: 'off' }, {}, { dashboard: built.folder });
  expect((await fetch(off.url, { headers: { Accept: 'text/html' } })).status).toBe(404);
  await off.stop();
});

test('its JavaScript has at most 160 KB gzipped', () => {
  const files = readdirSync(join(built.folder, 'assets')).filter((name) => name.endsWith('.js'));
  const sizes = files.map((name) => gzipSync(readFileSync(join(built.folder, 'assets', name)), { level: 9 }).length);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`the page: ${bytes} bytes of JavaScript gzipped, in ${files.length} files`);
  expect(bytes).toBeLessThanOrEqual(BUDGET);
});

test('a row that is inserted appears in the list and in the log, without a reload, an error, or a request to elsewhere', async () => {
  const { page, troubles } = await openPage(`/?venture=${venture}`);
  await shows(page, 'Nothing has happened here yet');
  const execution = await createExecution(writer, venture, 'running');
  await page.waitForSelector('.list__link');
  await createExecution(writer, venture, 'running');
  await page.waitForSelector('.rc-pill'); // a list that has rows does not move under its reader
  await page.click('.list__link');
  await shows(page, execution);
  await agents(execution);
  await shows(page, 'writer', '.rc-timeline');
  await say(execution, 'it is on the screen');
  await shows(page, 'it is on the screen', '.rc-log');
  expect(await textOf(page, '.rc-stages')).toBe('readwrite');
  expect(troubles).toEqual([]);
});

test('axe finds nothing on any page, in any of its states', async () => {
  const live = await createExecution(writer, venture, 'running');
  const failed = await createExecution(writer, venture, 'running');
  const empty = await createVenture(writer, 'ann');
  await agents(live);
  await agents(failed, true);
  await writer.query(
    `INSERT INTO execution_metrics (execution_id, metric_name, metric_value) SELECT $1, 'tokens', n FROM generate_series(1, 5) n`,
    [live],
  );
  const found: string[] = [];
  const look = async (page: Page, state: string) => {
    found.push(...(await violations(page)).map((violation) => `${state}: ${violation}`));
  };
  const { page } = await openPage(`/?venture=${empty}`);
  await page.setBypassCSP(true);
  for (const [path, what] of [
    [`/?venture=${empty}`, 'Nothing has happened here yet'],
    [`/?venture=${venture}`, 'running'],
    ['/c/', 'execution:'],
    ['/c/message:empty', 'No event yet'],
    [`/c/execution:${live}`, 'task-assigned'],
    ['/gateway', 'ready'],
    [`/e/${failed}`, 'timeout after 30 s'],
    ['/e/00000000-0000-4000-8000-00000000dead', 'no such execution'],
    ...['steps', 'metrics', 'health', 'log'].map((tab) => [`/e/${live}?tab=${tab}`, 'writer'] as const),
  ] as const) {
    await page.goto(`${gateway.url}${path}`);
    await shows(page, what);
    await look(page, path);
  }
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  await look(page, 'dark');
  await page.setViewport({ width: 320, height: 800 });
  await look(page, '320 px');
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(320);
  expect(found).toEqual([]);
});

test('the page ends as one that saw all of it: after a reload, without WebSocket, and after the gateway was gone', async () => {
  const execution = await createExecution(writer, venture, 'running');
  await agents(execution);
  const { page: undisturbed } = await openPage(`/e/${execution}`);
  const { page: blocked } = await openPage('/gateway');
  await blocked.evaluateOnNewDocument('delete globalThis.WebSocket');
  await blocked.goto(`${gateway.url}/e/${execution}`);
  const { page: reloaded } = await openPage(`/e/${execution}`);
  const pages = [undisturbed, blocked, reloaded];
  await Promise.all(pages.map((page) => shows(page, 'write it', '.rc-log')));
  await say(execution, 'first');
  await Promise.all(pages.map((page) => shows(page, 'first', '.rc-log')));
  await reloaded.reload();
  const port = new URL(gateway.url).port;
  await gateway.stop();
  await undisturbed.waitForSelector('.rc-stale');
  await undisturbed.setBypassCSP(true);
  expect(await violations(undisturbed)).toEqual([]);
  expect(await undisturbed.$eval('.rc-execution', (element) => (element as HTMLElement).dataset.state)).toBe('stale');
  await say(execution, 'while it was gone');
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_PORT: port }, {}, { dashboard: built.folder });
  await say(execution, 'after it');
  await writer.query(`UPDATE agent_executions SET status = 'completed' WHERE execution_id = $1`, [execution]);
  await Promise.all(pages.map((page) => shows(page, 'execution is completed', '.rc-log')));
  // What is of the connection itself differs, and what says how much arrived since the page was opened.
  const content = (page: Page) =>
    page.evaluate(() => {
      const copy = document.querySelector('.rc-execution')?.cloneNode(true) as HTMLElement;
      copy.querySelector('.rc-proof')?.remove();
      return copy.textContent;
    });
  const wanted = await content(undisturbed);
  expect(wanted).toContain('completed');
  for (const page of [blocked, reloaded]) {
    await until(async () => (await content(page)) === wanted, { what: 'the same text' });
  }
});

test('nothing shifts while rows arrive, the log follows them, and lets the reader go', async () => {
  const execution = await createExecution(writer, venture, 'running');
  await agents(execution);
  const { page, troubles } = await openPage(`/e/${execution}`);
  await shows(page, 'write it', '.rc-log');
  await page.evaluate(`
    globalThis.shift = 0;
    new PerformanceObserver((list) => { for (const entry of list.getEntries()) globalThis.shift += entry.value; })
      .observe({ type: 'layout-shift', buffered: false });
  `);
  for (let count = 0; count < 20; count += 1) {
    await writer.query(
      `INSERT INTO agent_execution_logs (execution_id, message) SELECT $1, 'row ' || n FROM generate_series($2::int, $2::int + 49) n`,
      [execution, count * 50],
    );
  }
  await shows(page, 'row 999', '.rc-log');
  expect(await page.evaluate('globalThis.shift')).toBeLessThan(MAX_SHIFT);
  expect(await page.$$eval('.rc-log__row', (rows) => rows.length)).toBeLessThan(60);
  await page.hover('.rc-log__scroller');
  await page.mouse.wheel({ deltaY: -600 });
  await page.waitForSelector('.rc-log__follow');
  const place = () => page.$eval('.rc-log__scroller', ({ scrollTop }) => scrollTop);
  await until(async () => (await place()) > 0, { what: 'the scrolling' });
  const before = await place();
  await say(execution, 'a later row');
  await shows(page, '1 new', '.rc-log');
  expect(Math.abs((await place()) - before)).toBeLessThanOrEqual(600);
  await page.click('.rc-log__follow');
  await shows(page, 'a later row', '.rc-log');
  expect(troubles).toEqual([]);
});
