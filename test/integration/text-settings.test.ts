import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { z } from 'zod';
import type { Gateway } from '../../server/gateway.js';
import { connectDatabase } from '../../server/postgres/connect-database.js';
import { TEXT_SETTINGS } from '../../server/postgres/session.js';
import { TableReader } from '../../server/postgres/table-reader.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { startTestGateway } from '../support/gateway.js';
import { poll } from '../support/poll.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

/** What shapes the text of a value, with a value that none of us uses. */
const OTHER: Readonly<Record<string, string>> = {
  timezone: 'Asia/Kathmandu',
  datestyle: 'SQL, DMY',
  intervalstyle: 'iso_8601',
  bytea_output: 'escape',
  extra_float_digits: '-3',
  xmlbinary: 'hex',
  xmloption: 'document',
  lc_monetary: 'de_DE.utf8',
  lc_numeric: 'de_DE.utf8',
  lc_time: 'de_DE.utf8',
  quote_all_identifiers: 'on',
};

/** What would refuse a read. */
const REFUSING: Readonly<Record<string, string>> = {
  row_security: 'off',
  search_path: '',
  default_transaction_isolation: 'serializable',
  default_transaction_read_only: 'on',
};

const COLUMNS = `b bytea, i interval, d daterange, ts tstzrange, t timestamptz, f float8, f4 real, m money, x xml, c regclass,
  arr interval[], comp period, j json, day text`;
const VALUES = `'\\xdead00', '1 day 02:00', '[2025-12-31,2026-01-05)', '[2026-01-01 00:00+02,2026-01-02 00:00+02)',
  '2026-01-01 00:00+02', 0.1::float8 + 0.2, 1.1::real, 1234.5, '<a/>', 'pg_class', '{1 day,2 hours}',
  ROW('1 mon', '2026-01-31', '\\xff'), json_build_object('n', 0.1::float8 + 0.2), to_char(DATE '2026-03-01', 'TMMonth')`;

describe.each(clusters())('PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let writer: pg.Client;
  let other: string;
  const gateways: Gateway[] = [];

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
    await writer.query(`CREATE TYPE period AS (length interval, day date, raw bytea)`);
    await writer.query(`CREATE TABLE kinds (id text NOT NULL, ${COLUMNS})`);
    await writer.query(`SELECT rowcast.attach('kinds', 'id')`);
    const login = `other_${database.url.slice(-8)}`;
    await writer.query(`CREATE ROLE ${login} LOGIN; GRANT rowcast_gateway, service_role TO ${login}`);
    for (const [name, value] of Object.entries({ ...OTHER, ...REFUSING })) {
      // A server may not have the locale: then that one cannot differ.
      await writer.query(`ALTER ROLE ${login} SET ${name} = '${value}'`).catch(() => {});
    }
    other = database.url.replace('postgres@', `${login}@`);
  });
  afterEach(async () => {
    for (const gateway of gateways.splice(0)) await gateway.stop();
  });
  afterAll(async () => {
    const login = new URL(other).username;
    await writer.query(`DROP OWNED BY ${login}; DROP ROLE ${login}`);
    await writer.end();
    await database.drop();
  });

  /** The frame as it was sent. */
  async function framesFrom(url: string, settings: Record<string, string>, key: string): Promise<string> {
    const gateway = await startTestGateway(url, settings);
    gateways.push(gateway);
    const { text } = await poll(gateway.url, [[`kinds:${key}`, 'start']], 0);
    return text.slice(text.indexOf('"type":"events"'));
  }

  test('an event is the same text by every gateway, whatever the settings of its login', async () => {
    await writer.query(`INSERT INTO kinds VALUES ('a', ${VALUES})`);
    const one = await framesFrom(database.url, {}, 'a');
    expect(await framesFrom(other, {}, 'a')).toBe(one);
    expect(one).toContain('"b":"\\\\xdead00"');
    expect(one).toContain('"i":"1 day 02:00:00"');
    expect(one).toContain('"d":"[2025-12-31,2026-01-05)"');
    expect(one).toContain('"f":0.30000000000000004');
    expect(one).toContain('"m":"$1,234.50"');
    expect(one).toContain('"c":"pg_class"');
  });

  test('what the tail delivers, what `verify` reads and what a service reads is that text too', async () => {
    const gateway = await startTestGateway(other);
    gateways.push(gateway);
    const live = poll(gateway.url, [['kinds:b', 'now']], 20);
    const subscribed = async () =>
      /^rowcast_subscriptions 1$/m.test(await (await fetch(`${gateway.url}/metrics`)).text());
    await until(subscribed, { what: 'the poll to wait' });
    await writer.query(`INSERT INTO kinds VALUES ('b', ${VALUES})`);
    const stored = await framesFrom(database.url, {}, 'b');
    const rows = /"events":(\[.*?\])\}\]/s;
    const [, delivered] = rows.exec((await live).text) ?? [];
    expect(delivered ?? '').not.toBe('');
    expect(stored).toContain(delivered);
    const reader = await TableReader.connect(other);
    const page = await reader.page('kinds:b', 0, 1);
    await reader.close();
    expect(delivered).toBe(`[${page.rows?.bytes}]`);
    const service = connectDatabase(other);
    const own = await service.transaction((sql) =>
      sql.query(
        'SELECT name, setting FROM pg_settings WHERE lower(name) = ANY ($1)',
        [Object.keys(TEXT_SETTINGS)],
        z.object({ name: z.string(), setting: z.string() }),
      ),
    );
    await service.close();
    expect(Object.fromEntries(own.map(({ name, setting }) => [name.toLowerCase(), setting]))).toEqual(TEXT_SETTINGS);
  });
});
