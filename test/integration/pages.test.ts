/**
 * A page of a channel is what a model of its bounds says: the events after a position that follow each other, as many as fit in
 * bytes and rows, with the texts that PostgreSQL makes of them. The values hold what separates texts, and what JSON escapes.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { makeLogger } from '../../server/ground/logger.js';
import { Metrics } from '../../server/ground/metrics.js';
import { Catalog } from '../../server/postgres/catalog.js';
import { PageReads } from '../../server/postgres/page-reads.js';
import { READ_SETTINGS, types } from '../../server/postgres/session.js';
import type { Stream } from '../../server/postgres/streams.js';
import type { Ask } from '../../server/postgres/tail-reads.js';
import { runs, seed } from '../property/seed.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { makeRandom } from '../support/random.js';
import { connectWriter } from '../support/writer.js';

const SEED = seed('pages');
const DRAWS = runs(150);
const KEYS = ['a', 'b\u001e', 'c'];
const ROWS = 60;
/** In texts, and in JSON that an application has written itself, blanks included. */
const PIECES = ['\u001e', '\u001f', '\n', ',', '"', '\\', 'é', '\u{1d11e}', '\u2028', 'plain text', '},{'];
const DOCUMENTS = ['{"a":\n1 ,\n"b":"\\u001e"}', '[ ]', '"\\u0000"', 'null', '{"k":"\u{1d11e}"}'];

interface Row {
  readonly seq: number;
  readonly text: string;
}

describe.each(clusters())('pages of PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let client: pg.Client;
  let stream: Stream;
  let catalog: Catalog;
  const rows = new Map<string, Row[]>();
  const ask: Ask = async (statement, values, row) =>
    (await client.query({ ...statement, values })).rows.map((found) => row.parse(found));

  const common = { ask, logger: makeLogger('fatal'), metrics: new Metrics() };

  beforeAll(async () => {
    database = await createDatabase(cluster);
    const writer = await connectWriter(database.url);
    await writer.query(
      `CREATE TABLE odd (key text NOT NULL, body text, document json, raw bytea); SELECT rowcast.attach('odd', 'key')`,
    );
    const random = makeRandom(SEED);
    for (const key of KEYS) {
      const values = Array.from({ length: ROWS }, () => {
        const body = Array.from({ length: random.int(0, random.pick([2, 8, 40])) }, () => random.pick(PIECES)).join('');
        return { key, body, document: random.pick(DOCUMENTS), raw: `\\x${'1e2c'.repeat(random.int(0, 3))}` };
      });
      await writer.query(
        `INSERT INTO odd SELECT r.key, r.body, r.document::json, r.raw::bytea
           FROM json_to_recordset($1) r(key text, body text, document text, raw text)`,
        [JSON.stringify(values)],
      );
    }
    // Without the triggers, so that gaps stay.
    await writer.query(`SET session_replication_role = replica; DELETE FROM odd WHERE seq % 17 IN (0, 5)`);
    const { rows: stored } = await writer.query<Row & { key: string }>(`
      SELECT o.key, o.seq::int AS seq, row_to_json(r)::text AS text
        FROM odd o, LATERAL (SELECT o.key, o.body, o.document, o.raw) r ORDER BY o.key, o.seq`);
    for (const { key, ...row } of stored) rows.set(key, [...(rows.get(key) ?? []), row]);
    await writer.end();
    client = new pg.Client({ connectionString: database.url, types });
    await client.connect();
    await client.query(READ_SETTINGS);
    catalog = new Catalog(ask, () => {});
    await catalog.load();
    stream = (await catalog.find('odd:a'))?.stream as Stream;
  });
  afterAll(async () => {
    await client.end();
    await database.drop();
  });

  /** The page after `after`, and the seq of the event that is too large to be sent where that is the first. */
  function expected(key: string, after: number, upTo: number, limits: { rows: number; bytes: number; event: number }) {
    const page: Row[] = [];
    let bytes = 0;
    for (const row of (rows.get(key) ?? []).filter(({ seq }) => seq > after && seq <= upTo)) {
      const last = page.at(-1);
      const size = Buffer.byteLength(row.text);
      if (last === undefined && size > limits.event) return { page, withheld: row.seq };
      if (last !== undefined && (row.seq !== last.seq + 1 || bytes >= limits.bytes)) break;
      if (size > limits.event || page.length === limits.rows) break;
      page.push(row);
      bytes += size;
    }
    return { page, withheld: undefined };
  }

  /** An event is encoded where it is read, and one of 16 MiB takes a while: a page must not encode those that it has no room for. */
  test('I6: PostgreSQL encodes three events beyond a page at most', async () => {
    const writer = await connectWriter(database.url);
    await writer.query(`
      CREATE SEQUENCE encoded;
      GRANT USAGE ON SEQUENCE encoded TO PUBLIC;
      CREATE TYPE counted AS ENUM ('one');
      CREATE FUNCTION to_json(counted) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('encoded'); RETURN '1'; END $$;
      CREATE CAST (counted AS json) WITH FUNCTION to_json(counted);
      CREATE TABLE lazy (key text NOT NULL, value counted);
      SELECT rowcast.attach('lazy', 'key');
      INSERT INTO lazy SELECT 'a', 'one' FROM generate_series(1, 300)`);
    await catalog.load();
    const { stream: lazy } = (await catalog.find('lazy:a')) ?? { stream };
    const eventBytes = 1_000;
    const readUpTo = async (bytes: number, rows: number) => {
      const reads = new PageReads({ ...common, limits: { bytes, rows }, eventBytes });
      const [page] = await reads.read(lazy, [{ key: 'a', after: 100, upTo: 300 }]);
      const { rows: counted } = await writer.query<{ n: number }>(`SELECT nextval('encoded')::int - 1 AS n`);
      await writer.query('ALTER SEQUENCE encoded RESTART');
      return [page instanceof Error ? page : page?.rows?.length, counted[0]?.n];
    };
    const bytes = Buffer.byteLength('{"key":"a","value":1}');
    expect(await readUpTo(10 * bytes, 200)).toEqual([10, 13]);
    expect(await readUpTo(1_000_000, 20)).toEqual([20, 20]);
    await writer.query('SET session_replication_role = replica; DELETE FROM lazy WHERE seq = 131');
    expect(await readUpTo(1_000_000, 200)).toEqual([30, 33]);
    await writer.end();
  });

  test('I1: a page has the events that follow each other, within its bounds, byte for byte', async () => {
    const random = makeRandom(SEED + 1);
    for (let draw = 0; draw < DRAWS; draw += 1) {
      const limits = {
        rows: random.int(1, 30),
        bytes: random.pick([1, 200, 1_000, 4_000, 100_000]),
        event: random.pick([120, 400, 10_000]),
      };
      const reads = new PageReads({ ...common, limits, eventBytes: limits.event });
      const requests = Array.from({ length: random.int(1, 4) }, () => {
        const after = random.int(0, ROWS);
        return { key: random.pick([...KEYS, 'none']), after, upTo: random.int(after, ROWS + 5) };
      });
      const pages = await reads.read(stream, requests);
      const found = pages.map((page) => {
        if (page instanceof Error) throw page;
        return {
          page: [...(page.rows ?? [])].map(({ seq, json }) => ({ seq, text: json })),
          withheld: page.withheld?.seq,
        };
      });
      expect(found).toEqual(requests.map(({ key, after, upTo }) => expected(key, after, upTo, limits)));
    }
  });
});
