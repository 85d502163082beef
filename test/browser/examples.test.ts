/** @needs chromium */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createExecution, createVenture } from '../support/api.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { startTestGateway } from '../support/gateway.js';
import { blocksOf } from '../support/page.js';
import { until } from '../support/until.js';
import { useBrowser } from './browser.js';
import { type Pages, servePages } from './pages.js';

let database: TestDatabase;
let writer: pg.Client;
let gateway: Gateway;
let pages: Pages;
const browser = useBrowser('chromium');

beforeAll(async () => {
  [database, pages] = await Promise.all([createDatabase(), servePages()]);
  writer = new pg.Client({ connectionString: database.url, application_name: TEST_SESSION });
  await writer.connect();
  for (const [table, key] of [
    ['orders', 'order_id'],
    ['parcels', 'parcel_id'],
  ]) {
    await writer.query(`CREATE TABLE ${table} (${key} bigint NOT NULL, event_type text, note text)`);
    await writer.query(`SELECT rowcast.attach('${table}', '${key}')`);
    await writer.query(`INSERT INTO ${table} VALUES (7, 'placed', 'two coffees'), (7, 'paid', NULL)`);
  }
  gateway = await startTestGateway(database.url);
});
afterAll(async () => {
  await pages.close();
  await gateway.stop();
  await writer.end();
  await database.drop();
});

const shown = '[...document.querySelectorAll("#events li")].map((item) => item.textContent)';

test('docs/examples/page.html shows the events of an order', async () => {
  const page = await browser.newPage();
  await page.goto(`${pages.origin}/examples/page.html?order=7&gateway=${gateway.url}`);
  await until(async () => ((await page.evaluate(shown)) as string[]).length === 2, { what: 'two events' });
  await writer.query(`INSERT INTO orders VALUES (7, 'delivered', 'still hot')`);
  await until(async () => ((await page.evaluate(shown)) as string[]).length === 3, { what: 'the event that is new' });
  expect(await page.evaluate(shown)).toEqual(['placed: two coffees', 'paid', 'delivered: still hot']);
  expect(await page.evaluate('document.querySelector("#state").textContent')).toBe('open');
});

test('docs/examples/plain shows how far an execution is', async () => {
  const execution = await createExecution(writer, await createVenture(writer, 'ann'));
  const page = await browser.newPage();
  await page.goto(`${pages.origin}/examples/plain/?execution=${execution}&gateway=${gateway.url}`);
  const text = () => page.$eval('#progress', (element) => element.textContent);
  await until(async () => (await text()) === 'live: 0 %', { what: 'the execution' });
  await writer.query(`UPDATE agent_executions SET status = 'completed' WHERE execution_id = $1`, [execution]);
  await until(async () => (await text()) === 'ended: 100 %', { what: 'its end' });
});

test('events.html of the quick start shows the events, also those without a note', async () => {
  const html = blocksOf('docs/quickstart.md').find(({ file }) => file === 'events.html')?.text ?? '';
  const page = await browser.newPage();
  await page.goto(`${pages.origin}/examples/README.md`); // any page of this origin
  await page.setContent(html.replace('http://127.0.0.1:4400', gateway.url));
  await until(async () => ((await page.evaluate(shown)) as string[]).length === 2, { what: 'two events' });
  expect(await page.evaluate(shown)).toEqual(['placed: two coffees', 'paid']);
});
