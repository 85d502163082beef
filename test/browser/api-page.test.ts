/** @needs chromium */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { useBrowser } from './browser.js';

const browser = useBrowser('chromium');
let database: TestDatabase;
let gateway: Gateway;
beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
  const writer = new pg.Client({ connectionString: database.url, application_name: TEST_SESSION });
  await writer.connect();
  await writer.query(`INSERT INTO ventures VALUES ('00000000-0000-4000-8000-000000000001', 'Demo')`);
  await writer.end();
});
afterAll(async () => {
  await gateway.stop();
  await database.drop();
});

test('the page of the HTTP API shows all of it, asks nobody but the gateway, and tries a request', async () => {
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(gateway.url) && !request.url().startsWith('data:')) faults.push(request.url());
  });
  await page.goto(`${gateway.url}/api/docs`);
  await page.waitForSelector('#operations-Executions-listExecutions');
  const shown = await page.$$eval('.opblock-summary-path', (paths) => paths.map((path) => path.textContent));
  const { paths } = (await (await fetch(`${gateway.url}/api/openapi.json`)).json()) as {
    paths: Record<string, object>;
  };
  const documented = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map(() => path));
  // The page lets long paths break with characters that are not seen.
  expect(shown.map((path) => path?.replaceAll('\u200b', '')).sort()).toEqual(documented.sort());
  await page.click('#operations-Executions-listExecutions .opblock-summary-control');
  await page.waitForSelector('.btn.execute');
  await page.click('.btn.execute');
  await page.waitForSelector('.live-responses-table .response-col_status');
  const status = await page.$eval('.live-responses-table .response .response-col_status', (cell) => cell.textContent);
  expect(status).toBe('200');
  expect(faults).toEqual([]);
});
