/** @needs chromium */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Page } from 'puppeteer-core';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { TOKENS, tokenOf } from '../support/principals.js';
import { type GatewayProcess, startGatewayProcess } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';
import { useBrowser } from './browser.js';
import { type Pages, servePages } from './pages.js';

const { newPage } = useBrowser('chromium');
let database: TestDatabase;
let writer: pg.Client;
let pages: Pages;
let gateway: GatewayProcess;
let settings: Record<string, string>;

beforeAll(async () => {
  [database, pages] = await Promise.all([createDatabase(), servePages()]);
  writer = await connectWriter(database.url);
  await writer.query(`
    CREATE TABLE customers (id int PRIMARY KEY);
    CREATE TABLE logins (customer_id int NOT NULL REFERENCES customers, login text NOT NULL);
    CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, status text NOT NULL);
    ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
    ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    GRANT SELECT ON customers, logins, orders TO authenticated;
    CREATE POLICY own ON customers TO authenticated
      USING (EXISTS (SELECT FROM logins l WHERE l.customer_id = customers.id AND l.login = rowcast.subject()));
    CREATE POLICY own ON orders TO authenticated USING (EXISTS (SELECT FROM customers c WHERE c.id = customer_id));
    INSERT INTO customers VALUES (1), (2);
    INSERT INTO logins VALUES (1, 'ann'), (2, 'bob');
    INSERT INTO orders VALUES (11, 1, 'placed'), (12, 1, 'placed'), (21, 2, 'placed');
    SELECT rowcast.track('orders', key => 'customer_id');
    SELECT rowcast.watch_access('logins', 'login')`);
  settings = { ...TOKENS, ROWCAST_ORIGINS: pages.origin };
  gateway = await startGatewayProcess(database.url, settings);
});
afterAll(async () => {
  await gateway.stop();
  await Promise.all([pages.close(), writer.end()]);
  await database.drop();
});

async function board(user: string, customer: number): Promise<Page> {
  const page = await newPage();
  const query = new URLSearchParams({ gateway: gateway.url, token: await tokenOf(user), customer: String(customer) });
  await page.goto(`${pages.origin}/orders.html?${query}`);
  return page;
}

const text = (page: Page) => page.evaluate('document.body.innerText.trim()') as Promise<string>;

/** Waits for the status and the orders. */
async function shows(page: Page, ...lines: string[]): Promise<void> {
  let shown = '';
  const same = async () => {
    shown = (await text(page)).split(/\s*\n\s*/).join(', ');
    return shown === lines.join(', ');
  };
  await until(same, { what: `the page to show ${lines}` }).catch(() => expect(shown).toBe(lines.join(', ')));
}

test('the order board of two users: RLS, a reload, a killed gateway and a revoked right, in 20 lines', async () => {
  const [ann, bob, other] = await Promise.all([board('ann', 1), board('bob', 2), board('bob', 1)]);
  await shows(ann, 'live', '11 placed', '12 placed');
  await shows(bob, 'live', '21 placed');
  await shows(other, 'forbidden');

  await writer.query("UPDATE orders SET status = 'paid' WHERE id = 11");
  await shows(ann, 'live', '11 paid', '12 placed');
  await writer.query('UPDATE orders SET customer_id = 2 WHERE id = 12');
  await shows(ann, 'live', '11 paid');
  await shows(bob, 'live', '12 placed', '21 placed');

  const reloading = ann.reload();
  await writer.query("INSERT INTO orders VALUES (13, 1, 'placed')");
  await reloading;
  await shows(ann, 'live', '11 paid', '13 placed');

  const port = new URL(gateway.url).port;
  await gateway.kill('SIGKILL');
  await shows(ann, 'stale', '11 paid', '13 placed');
  await writer.query("DELETE FROM orders WHERE id = 13; UPDATE orders SET status = 'sent' WHERE customer_id = 2");
  gateway = await startGatewayProcess(database.url, { ...settings, ROWCAST_PORT: port });
  await shows(ann, 'live', '11 paid');
  await shows(bob, 'live', '12 sent', '21 sent');

  await writer.query("DELETE FROM logins WHERE login = 'bob'");
  await shows(bob, 'forbidden', '12 sent', '21 sent');
  await writer.query("UPDATE orders SET status = 'secret' WHERE customer_id = 2");
  await writer.query("UPDATE orders SET status = 'sent' WHERE id = 11");
  await shows(ann, 'live', '11 sent');
  expect(await text(bob)).not.toContain('secret');

  const page = readFileSync(join(import.meta.dirname, 'pages/orders.html'), 'utf8');
  const lines = (/<script type="module">\n(.*)<\/script>/s.exec(page)?.[1] ?? '')
    .split('\n')
    .filter((line) => line.trim());
  expect(lines.length).toBeLessThanOrEqual(20);
});
