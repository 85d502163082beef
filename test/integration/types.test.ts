/** `rowcast types`: what it writes compiles, `tsc --strict`, and a wrong stream or column does not. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { packageRoot } from '../../server/ground/package-root.js';
import { readStreamColumns, streamTypes } from '../../server/postgres/stream-types.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { run, tool } from '../support/packages.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let writer: pg.Client;
let folder: string;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  folder = mkdtempSync(join(tmpdir(), 'rowcast-types-'));
  await writer.query(`
    CREATE TYPE order_status AS ENUM ('placed', 'it''s "paid"');
    CREATE TYPE place AS (x int, y int);
    CREATE DOMAIN cents AS bigint NOT NULL;
    CREATE DOMAIN tags AS text[];
    CREATE DOMAIN word AS text NOT NULL;
    CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, status order_status NOT NULL, total cents, paid boolean,
      note text, placed_at timestamptz, lines jsonb, address jsonb NOT NULL, tags tags NOT NULL, words word[],
      grid float8[][] NOT NULL, place place, "2nd-name" text, secret text);
    ALTER TABLE orders DROP COLUMN note;
    COMMENT ON COLUMN orders.address IS 'Where it goes. @type {import(''./address.js'').Address}';
    SELECT rowcast.track('orders', key => 'customer_id', columns => ARRAY['id', 'customer_id', 'status', 'total', 'paid', 'placed_at',
      'lines', 'address', 'tags', 'words', 'grid', 'place', '2nd-name']);
    SELECT rowcast.track('orders', name => 'every-order', columns => ARRAY['id']);
    CREATE TABLE notes (topic text NOT NULL, body text);
    SELECT rowcast.attach('notes', 'topic', seq => 'n', tx => 'x')`);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await writer.end();
  await database.drop();
});

const written = async () => streamTypes(await readStreamColumns(writer));

test('columns have the types, and may be null, as PostgreSQL writes them in an event', async () => {
  const text = await written();
  expect(text).toContain(`  orders: Change<{
    readonly id: number;
    readonly customer_id: number;
    readonly status: "placed" | "it's \\"paid\\"";
    readonly total: number;
    readonly paid: boolean | null;
    readonly placed_at: string | null;
    readonly lines: unknown;
    readonly address: import('./address.js').Address;
    readonly tags: readonly (string | null)[];
    readonly words: readonly string[] | null;
    readonly grid: readonly (readonly (number | null)[])[];
    readonly place: Readonly<Record<string, unknown>> | null;
    readonly "2nd-name": string | null;
  }>;`);
  expect(text).toContain('  "every-order": Change<{\n    readonly id: number;\n  }>;');
  expect(text).toContain('  notes: {\n    readonly topic: string;\n    readonly body: string | null;\n  };');
  expect(text).toMatch(/ {2}message: \{\n {4}readonly key: string;/);
});

/** A line that must not compile ends with `// wrong`. */
const PAGE = `
import { createClient } from '@rowcast/client';
import { type Change, follow, followState, type RowOf } from '@rowcast/client/follow';
import type { Address } from './address.js';
import type { Streams } from './streams.js';

const gateway = { url: 'http://127.0.0.1:4400' };
const client = createClient<Streams>(gateway);
const customer = Number(location.hash);
type Order = RowOf<Streams['orders']>;

export const subscription = client.subscribe(\`orders:\${customer}\`, {
  onEvent({ row }) {
    const change: Change<Order> = row;
    const id: number | undefined = row.row?.id;
    const before: 'placed' | 'it\\'s "paid"' | undefined = row.old?.status;
    const street: string | undefined = row.row?.address.street;
    row.row?.nmae; // wrong
    const text: string = row.row?.id ?? 0; // wrong
    return [change, id, before, street, text];
  },
});
export async function read() {
  for await (const { row } of client.subscribe('notes:a')) {
    const body: string = row.body; // wrong
    return [row.topic.length, body];
  }
  return undefined;
}
client.subscribe('ordres:42'); // wrong
client.subscribe('orders'); // wrong
client.subscribe(String(customer)); // wrong
client.subscribe<{ id: string }>('orders:42'); // wrong

export const orders = follow(client, 'orders:42', {
  compare: (a, b) => a.id - b.id,
  onChange: ({ rows }) => console.log([...rows.values()].map(({ status, address }) => status + address.street)),
});
export const order: Order | undefined = orders.rows.get('1');
export const every: number | undefined = follow(client, 'every-order:all').rows.get('1')?.id;
follow(client, 'ordres:42'); // wrong
follow(client, 'notes:a'); // wrong
follow(client, 'orders:42', { compare: (a, b) => a.total - b.totl }); // wrong
export const address: Address | undefined = order?.address;

export const count = followState(client, 'notes:a', {
  load: async () => ({ state: 0, position: 'e.1' }),
  apply: (state, { row }) => state + row.topic.length,
});
export const sum: number | undefined = count.get().data;
followState(client, 'note:a', { load: async () => ({ state: 0, position: 'e.1' }), apply: (state) => state }); // wrong

const untyped = createClient(gateway);
export const any: unknown = untyped.subscribe(String(customer)).channel;
untyped.subscribe<Order>('anything:1', { onEvent: ({ row }) => row.id.toFixed() });
follow<Order>(untyped, String(customer), { compare: (a, b) => a.id - b.id });
untyped.subscribe('orders:42', { onEvent: ({ row }) => row.id.toFixed() }); // wrong
createClient<{ orders: number }>(gateway); // wrong
`;

test('an application compiles with it, and not with a wrong stream, column or type', async () => {
  const root = packageRoot();
  const compilerOptions = {
    ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noEmit: true, types: [] },
    ...{ target: 'es2023', lib: ['es2023', 'dom'], module: 'nodenext', skipLibCheck: true },
    paths: {
      '@rowcast/client': [join(root, 'client/index.ts')],
      '@rowcast/client/*': [join(root, 'client/*/index.ts')],
    },
  };
  const files = {
    'package.json': '{"type":"module"}',
    'tsconfig.json': JSON.stringify({ compilerOptions, files: ['page.ts'] }),
    'streams.ts': await written(),
    'address.ts': 'export interface Address { readonly street: string }',
    'page.ts': PAGE,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const { output } = await run(folder, [tool('tsc'), '--pretty', 'false']);
  const refused = output.split('\n').flatMap((line) => (/^\S/.test(line) ? [line.replace(/,.*/, '')] : []));
  const wrong = PAGE.split('\n').flatMap((line, index) => (line.endsWith('// wrong') ? [`page.ts(${index + 1}`] : []));
  expect({ refused: [...new Set(refused)], output }).toEqual({ refused: wrong, output });
});

test('a comment names a type, and cannot become code', async () => {
  const column = {
    name: 'c',
    json: 'unknown' as const,
    labels: [],
    dimensions: 0,
    nullableElements: false,
    nullable: true,
  };
  const typesWith = (comment: string) =>
    streamTypes([{ name: 's', tracked: false, columns: [{ ...column, comment }] }]);
  expect(typesWith('@type {Address}')).toContain('readonly c: Address | null;');
  for (const comment of ['@type {unknown}; evil()', "@type {import('x'); evil()}", '@type {A<B>}']) {
    const types = () => typesWith(comment);
    if (comment.startsWith('@type {unknown}')) expect(types()).not.toContain('evil');
    else expect(types).toThrow(/s: the comment of column c must name a type/);
  }
});
