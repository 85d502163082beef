/** `GET /v1/rows/<stream>/<key>`: the present rows of a channel, and the position at which its events continue. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { LocalGateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startTestGateway } from '../support/gateway.js';
import { TOKENS, tokenOf } from '../support/principals.js';
import { connectWriter } from '../support/writer.js';

interface Page {
  readonly position: string;
  readonly next: string | null;
  readonly ids: string[];
  readonly rows: Record<string, unknown>[];
}

describe('the rows of a channel', () => {
  let database: TestDatabase;
  let writer: pg.Client;
  let gateway: LocalGateway;

  beforeAll(async () => {
    database = await createDatabase();
    writer = await connectWriter(database.url);
    await writer.query(`
      CREATE TABLE customers (id int PRIMARY KEY, owner text NOT NULL);
      CREATE TABLE orders (region text, id int, customer_id int NOT NULL REFERENCES customers, status text, PRIMARY KEY (region, id));
      ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON customers FOR SELECT USING (owner = rowcast.subject());
      GRANT SELECT ON customers, orders TO authenticated;
      SELECT rowcast.track('orders', key => 'customer_id');
      INSERT INTO customers VALUES (1, 'ann'), (2, 'bob');
      INSERT INTO orders SELECT 'r' || i % 2, i, 1, 'placed' FROM generate_series(1, 7) i`);
    gateway = await startTestGateway(database.url, TOKENS);
  });
  afterAll(async () => {
    await gateway.stop();
    await writer.end();
    await database.drop();
  });

  async function get(path: string, user: string, headers: Record<string, string> = {}): Promise<Response> {
    const token = await tokenOf(user);
    return fetch(`${gateway.url}/v1/rows/${path}`, { headers: { ...headers, authorization: `Bearer ${token}` } });
  }

  test('are those of the table, in the order of the primary key, with the position of the same moment', async () => {
    const response = await get('orders/1', 'ann');
    const page = (await response.json()) as Page;
    expect(page.position).toMatch(/^\w+\.7$/);
    expect(page.next).toBeNull();
    expect(page.ids[0]).toBe('["r0", "2"]');
    expect(page.rows.map(({ id }) => id)).toEqual([2, 4, 6, 1, 3, 5, 7]);
    expect(response.headers.get('etag')).toBe(`"${page.position}"`);
    const same = await get('orders/1', 'ann', { 'if-none-match': `"${page.position}"` });
    expect(same.status).toBe(304);
    await writer.query("UPDATE orders SET status = 'paid' WHERE id = 3");
    const changed = await get('orders/1', 'ann', { 'if-none-match': `"${page.position}"` });
    expect(((await changed.json()) as Page).rows[4]).toMatchObject({ id: 3, status: 'paid' });
  });

  test('come in pages; each has its own position', async () => {
    const ids: unknown[] = [];
    let after = '';
    for (;;) {
      const page = (await (await get(`orders/1?limit=3${after}`, 'ann')).json()) as Page;
      ids.push(...page.rows.map(({ id }) => id));
      if (page.next === null) break;
      after = `&after=${encodeURIComponent(page.next)}`;
    }
    expect(ids).toEqual([2, 4, 6, 1, 3, 5, 7]);
    expect((await get('orders/1?after=x', 'ann')).status).toBe(400);
    expect((await get('orders/1?limit=0', 'ann')).status).toBe(400);
  });

  test('I5: may be read by those that may read the channel; of a channel without rows there are none', async () => {
    expect((await get('orders/1', 'bob')).status).toBe(403);
    expect(await (await get('orders/2', 'bob')).json()).toMatchObject({ rows: [], ids: [], next: null });
    expect((await get('orders/x', 'bob')).status).toBe(403);
    expect((await get('nothing/1', 'bob')).status).toBe(403);
  });

  test('of an attached table are its newest events', async () => {
    await writer.query(`
      CREATE TABLE notes (order_id int NOT NULL, note text);
      GRANT SELECT ON notes TO authenticated;
      SELECT rowcast.attach('notes', 'order_id');
      INSERT INTO notes SELECT 1, 'n' || i FROM generate_series(1, 5) i`);
    const page = (await (await get('notes/1?limit=2', 'ann')).json()) as Page;
    expect(page).toMatchObject({ ids: ['4', '5'], rows: [{ order_id: 1, note: 'n4' }, { note: 'n5' }], next: null });
    expect(page.position).toMatch(/\.5$/);
  });

  test('a row beyond the limit of an event is named, and the rows before it come', async () => {
    await writer.query(`
      CREATE TABLE documents (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, body text);
      GRANT SELECT ON documents TO authenticated;
      SELECT rowcast.track('documents', key => 'customer_id');
      CREATE TABLE letters (customer_id int NOT NULL REFERENCES customers, n int, body text);
      GRANT SELECT ON letters TO authenticated;
      SELECT rowcast.attach('letters', 'customer_id');
      INSERT INTO documents VALUES (1, 1, 'x'), (2, 1, repeat('x', 17 * 1024 * 1024)), (3, 1, 'x');
      INSERT INTO letters VALUES (1, 1, 'x'), (1, 2, repeat('x', 17 * 1024 * 1024)), (1, 3, 'x')`);
    const page = (await (await get('documents/1', 'ann')).json()) as Page;
    expect([page.ids, page.next]).toEqual([['1'], '1']);
    const refused = await get('documents/1?after=1', 'ann');
    expect([refused.status, await refused.json()]).toMatchObject([
      413,
      { error: { code: 'event_too_large', message: 'the row 2 of documents has more than 16777216 bytes as JSON' } },
    ]);
    expect(((await (await get('documents/1?after=2', 'ann')).json()) as Page).ids).toEqual(['3']);
    // Of a log the newest rows, as far as they can be sent.
    expect(((await (await get('letters/1', 'ann')).json()) as Page).rows.map(({ n }) => n)).toEqual([3]);
  });
});
