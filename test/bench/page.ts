/**
 * What a person sees of the page: from the return of the INSERT to the changed pixel, by each transport; and a log of a million
 * rows: its first screen, End, Home and a jump to the middle, its heap and its document; and a channel of a thousand events a
 * second: how often React commits, and the longest task. `npm run bench:page -- rows 100000` measures that part alone, with so
 * many rows; the parts are `pixel`, `rows` and `stream`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { launch, type Page } from 'puppeteer-core';
import { migrate } from '../../server/postgres/migrate.js';
import { buildDashboard } from '../support/dashboard.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { programPath } from '../support/installed.mjs';
import { startEmbedded } from '../support/server.js';

const [, , part = 'all', rows = '1000000'] = process.argv;
const ROWS = Number(rows);
const SAMPLES = 100;
/** By polling, each of which takes an interval. */
const POLLED = 15;
const BATCH = 50_000;

const print = (line: string) => process.stdout.write(`${line}\n`);
const percentile = (sorted: readonly number[], p: number) => sorted[Math.floor((sorted.length - 1) * p)] ?? Number.NaN;

/** Notes when a text is in the document, in the frame after its change was drawn. */
const WATCH = `
  globalThis.seen = new Map();
  globalThis.wanted = new Set();
  new MutationObserver(() => requestAnimationFrame(() => setTimeout(() => {
    const text = document.querySelector('.rc-log__rows')?.textContent ?? '';
    for (const each of globalThis.wanted) {
      if (!text.includes(each)) continue;
      globalThis.wanted.delete(each);
      globalThis.seen.set(each, Date.now());
    }
  }))).observe(document.body, { subtree: true, childList: true, characterData: true });
`;

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-bench-'));
const cluster = await startEmbedded({ dataDir, settings: { max_wal_size: '4GB' } });
const built = await buildDashboard();
await migrate(cluster.url);
const writer = new pg.Client({ connectionString: cluster.url });
await writer.connect();
const gateway = await startTestGateway(cluster.url, NO_RATES, {}, { dashboard: built.folder });
const browser = await launch({ executablePath: programPath('chromium') ?? '', args: ['--no-sandbox'] });

async function toPixel(way: string, choice: string, samples = SAMPLES): Promise<void> {
  const page = await browser.newPage();
  await page.goto(`${gateway.url}/c/message:${way}`);
  await writer.query(`SELECT rowcast.publish('message:${way}', 'first', '{}')`);
  await page.waitForSelector('.rc-log__row');
  await page.select('.bar .rc-select', choice);
  await delay(3_000);
  await page.evaluate(WATCH);
  const times: number[] = [];
  for (let sample = 0; sample < samples; sample += 1) {
    const text = `mark-${way}-${sample}-`;
    await page.evaluate(`globalThis.wanted.add('${text}')`);
    await writer.query(`SELECT rowcast.publish('message:${way}', 'mark', to_jsonb($1::text))`, [text]);
    const inserted = Date.now();
    const seen = await page.waitForFunction(`globalThis.seen.get('${text}')`, { polling: 20, timeout: 10_000 });
    times.push(Math.max(0, Number(await seen.jsonValue()) - inserted));
    await delay(30);
  }
  times.sort((one, other) => one - other);
  const figures = [0.5, 0.9, 0.95, 0.99, 1].map((p) => `p${p * 100} ${percentile(times, p)} ms`).join(', ');
  print(`INSERT to pixel, ${choice}: ${figures}, of ${samples}`);
  await page.close();
}

/** Until the visible rows are loaded, and the one with this number is among them. */
async function loaded(page: Page, seq: number): Promise<void> {
  await page.waitForFunction(
    `(() => { const rows = [...document.querySelectorAll('.rc-log__row')];
      return rows.length > 0 && rows.every((row) => row.dataset.state === 'loaded')
        && rows.some((row) => row.querySelector('.rc-log__seq').textContent === '${seq.toLocaleString('en')}'); })()`,
    { polling: 'raf', timeout: 30_000 },
  );
}

async function manyRows(): Promise<void> {
  for (let row = 0; row < ROWS; row += BATCH) {
    await writer.query(
      `INSERT INTO rowcast.messages (key, event_type, data) SELECT 'many', 'log', to_jsonb('row ' || n) FROM generate_series(1, ${Math.min(BATCH, ROWS - row)}) n`,
    );
  }
  const page = await browser.newPage();
  await page.goto(`${gateway.url}/gateway`);
  await delay(1_000);
  const heap = async () => {
    const session = await page.createCDPSession();
    await session.send('HeapProfiler.collectGarbage');
    return (await page.metrics()).JSHeapUsedSize ?? 0;
  };
  const before = await heap();
  const time = async (what: string, act: () => Promise<unknown>, seq: number) => {
    const begun = performance.now();
    await act();
    await loaded(page, seq);
    print(`${what}: ${Math.round(performance.now() - begun)} ms`);
  };
  const address = `${gateway.url}/c/message:many`;
  await time(`first screen of ${ROWS.toLocaleString('en')} rows`, () => page.goto(address), ROWS);
  await page.focus('.rc-log__scroller');
  await time('Home', () => page.keyboard.press('Home'), 1);
  const middle = Math.round(ROWS / 2);
  const jump = `(() => { const box = document.querySelector('.rc-log__scroller'); box.scrollTop = (box.scrollHeight - box.clientHeight) / 2; })()`;
  await time('to the middle', () => page.evaluate(jump), middle);
  await time('End', () => page.keyboard.press('End'), ROWS);
  print(
    `heap: ${((await heap()) / 2 ** 20).toFixed(1)} MiB, ${(((await heap()) - before) / 2 ** 20).toFixed(1)} more than before`,
  );
  print(`rows in the document: ${await page.$$eval('.rc-log__row', (rows) => rows.length)}`);
}

/** React tells the developer tools of each commit: these count them. */
const COUNT = `
  globalThis.commits = 0;
  globalThis.__REACT_DEVTOOLS_GLOBAL_HOOK__ = {
    supportsFiber: true, inject: () => 1, checkDCE() {}, onCommitFiberUnmount() {}, onPostCommitFiberRoot() {},
    onCommitFiberRoot() { globalThis.commits += 1; },
  };
  globalThis.tasks = [];
  new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) globalThis.tasks.push(duration); })
    .observe({ type: 'longtask' });
`;

/** Events of a second, in how many statements, and for how many seconds. */
const RATE = 1_000;
const STATEMENTS = 50;
const SECONDS = 10;

async function stream(): Promise<void> {
  const page = await browser.newPage();
  await page.evaluateOnNewDocument(COUNT);
  await page.goto(`${gateway.url}/c/message:stream`);
  const write = (count: number) =>
    writer.query(
      `INSERT INTO rowcast.messages (key, event_type, data) SELECT 'stream', 'log', to_jsonb('row ' || n) FROM generate_series(1, ${count}) n`,
    );
  await write(RATE);
  await loaded(page, RATE);
  await page.evaluate('globalThis.tasks.length = globalThis.commits = 0');
  const begun = performance.now();
  for (let sent = 1; sent <= SECONDS * STATEMENTS; sent += 1) {
    await write(RATE / STATEMENTS);
    await delay(Math.max(0, begun + (sent * 1_000) / STATEMENTS - performance.now()));
  }
  const seconds = (performance.now() - begun) / 1_000;
  const { commits, tasks } = (await page.evaluate('({ commits: globalThis.commits, tasks: globalThis.tasks })')) as {
    commits: number;
    tasks: number[];
  };
  const late = Date.now();
  await loaded(page, RATE * (SECONDS + 1));
  const rate = Math.round((SECONDS * RATE) / seconds);
  print(
    `${rate} events/s: ${(commits / seconds).toFixed(1)} commits/s, ${tasks.length} tasks over 50 ms, the longest ${Math.round(Math.max(0, ...tasks))} ms, the last row after ${Date.now() - late} ms`,
  );
  await page.close();
}

async function pixels(): Promise<void> {
  await toPixel('websocket', 'WebSocket');
  await toPixel('sse', 'Event stream');
  await toPixel('poll', 'Polling, on an interval', POLLED);
}

const PARTS: Readonly<Record<string, () => Promise<void>>> = { pixel: pixels, rows: manyRows, stream };

try {
  for (const [name, measure] of Object.entries(PARTS)) if (part === 'all' || part === name) await measure();
} finally {
  await browser.close();
  await gateway.stop();
  await writer.end();
  await cluster.stop();
  await Promise.all([built.remove(), rm(dataDir, { recursive: true })]);
}
