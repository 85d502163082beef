/** Components show the rows of a tracked table, and render when what they show has changed. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { LiveRows } from '../../client/react/rows/index.js';
import type { LocalGateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { ReactPage, show } from '../support/react-page.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const { useRow, useRows } = await import('../../client/react/rows/index.js');

interface Order {
  readonly id: number;
  readonly status: string;
}

let database: TestDatabase;
let writer: pg.Client;
let gateway: LocalGateway;
beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  await writer.query(`CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, status text);
    INSERT INTO orders VALUES (1, 7, 'placed'), (2, 7, 'placed'), (3, 8, 'placed');
    SELECT rowcast.track('orders', key => 'customer_id')`);
  gateway = await startTestGateway(database.url, NO_RATES);
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

test('useRows and useRow: one snapshot for all components; a row that did not change renders nothing', async () => {
  const requests: string[] = [];
  const client = testClient({
    url: gateway.url,
    fetch: (url, init) => {
      requests.push(new URL(String(url)).pathname);
      return fetch(url, init);
    },
  });
  const renders = { list: 0, second: 0 };
  const List = () => {
    renders.list += 1;
    const { status, data = [] } = useRows(client, 'orders:7', (rows: LiveRows<Order>) => [...rows.keys()]);
    return `${status}:${data};`;
  };
  const One = ({ id }: { id: string }) => {
    if (id === '2') renders.second += 1;
    const { data } = useRow<Order>(client, 'orders:7', id);
    return `${id}=${data === null ? 'none' : data?.status};`;
  };
  const None = () => `${useRows(client, null).status};`;
  const page = new ReactPage();
  const shows = (text: string) =>
    until(() => page.text === text, { what: `the page to show ${text}` }).catch(() => expect(page.text).toBe(text));
  await page.render([
    show(List, {}, 'list'),
    show(One, { id: '1' }, '1'),
    show(One, { id: '2' }, '2'),
    show(One, { id: '9' }, '9'),
    show(None, {}, 'none'),
  ]);
  // From here on React renders when the rows come, and not when the test says so.
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: false });
  await shows('live:1,2;1=placed;2=placed;9=none;idle;');
  expect(requests).toEqual(['/v1/rows/orders/7']);
  const before = { ...renders };
  await writer.query("UPDATE orders SET status = 'paid' WHERE id = 1");
  await shows('live:1,2;1=paid;2=placed;9=none;idle;');
  expect(renders).toEqual(before);
  await writer.query("INSERT INTO orders VALUES (9, 7, 'placed'); DELETE FROM orders WHERE id = 2");
  await shows('live:1,9;1=paid;2=none;9=placed;idle;');
  expect(page.errors).toEqual([]);
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });
  await page.close();
});
