import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { follow } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { poll } from '../support/poll.js';
import { until } from '../support/until.js';
import { Witness } from '../support/witness.js';
import { connectWriter } from '../support/writer.js';

const MiB = 1024 * 1024;

interface Sort {
  readonly name: string;
  readonly since?: number;
  /** Of its gateway. The time is over several times, and the rows of the others may take longer on a busy machine. */
  readonly queryTimeout?: string;
  readonly setUp: string;
  readonly good: string;
  readonly bad: string;
}

/** Rows that PostgreSQL takes, and cannot encode. */
const sorts: readonly Sort[] = [
  {
    name: 'a virtual column that divides by zero',
    since: 18,
    setUp: 'CREATE TABLE TABLE_ (id text NOT NULL, v int, ratio numeric GENERATED ALWAYS AS (1.0 / v))',
    good: '1',
    bad: '0',
  },
  {
    name: 'a cast to json that raises',
    setUp: `CREATE TYPE TABLE__v AS ENUM ('good', 'bad');
      CREATE FUNCTION TABLE__json(TABLE__v) RETURNS json LANGUAGE plpgsql AS
        $$ BEGIN IF $1 = 'bad' THEN RAISE EXCEPTION 'no'; END IF; RETURN to_json($1::text); END $$;
      CREATE CAST (TABLE__v AS json) WITH FUNCTION TABLE__json(TABLE__v);
      CREATE TABLE TABLE_ (id text NOT NULL, v TABLE__v)`,
    good: `'good'`,
    bad: `'bad'`,
  },
  {
    name: 'a cast to json that takes too long',
    queryTimeout: '1000',
    setUp: `CREATE TYPE TABLE__v AS ENUM ('good', 'bad');
      CREATE FUNCTION TABLE__json(TABLE__v) RETURNS json LANGUAGE plpgsql AS
        $$ BEGIN IF $1 = 'bad' THEN PERFORM pg_sleep(60); END IF; RETURN to_json($1::text); END $$;
      CREATE CAST (TABLE__v AS json) WITH FUNCTION TABLE__json(TABLE__v);
      CREATE TABLE TABLE_ (id text NOT NULL, v TABLE__v)`,
    good: `'good'`,
    bad: `'bad'`,
  },
  {
    name: 'a row that is too large',
    setUp: 'CREATE TABLE TABLE_ (id text NOT NULL, v text)',
    good: `'small'`,
    bad: `repeat('x', ${17 * MiB})`,
  },
  {
    name: 'a row that is too large only as JSON',
    setUp: 'CREATE TABLE TABLE_ (id text NOT NULL, v text)',
    good: `'small'`,
    bad: `repeat(chr(1), ${4 * MiB})`,
  },
  {
    name: 'a row that is stored small and is too large',
    setUp: 'CREATE TABLE TABLE_ (id text NOT NULL, v jsonb)',
    good: `'1'`,
    bad: `to_jsonb(repeat('x', ${70 * MiB}))`,
  },
];

const SETTINGS = { ...NO_RATES, ROWCAST_LOG_LEVEL: 'silent', ROWCAST_QUERY_TIMEOUT: '4000' };

describe.each(clusters())('a row that cannot be sent, on PostgreSQL $version', (cluster) => {
  const version = Number.parseInt(cluster.version, 10);
  let database: TestDatabase;
  let gateway: Gateway;
  let writer: pg.Client;
  let made = 0;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
    gateway = await startTestGateway(database.url, SETTINGS);
  });
  afterAll(async () => {
    await gateway.stop();
    await writer.end();
    await database.drop();
  });

  test.each(sorts.filter(({ since = 0 }) => since <= version))(
    'I2: $name is named to its readers, who go on behind it, and no other reader notices',
    async ({ queryTimeout, setUp, good, bad }) => {
      const hasOwn = queryTimeout !== undefined;
      const by = hasOwn
        ? await startTestGateway(database.url, { ...SETTINGS, ROWCAST_QUERY_TIMEOUT: queryTimeout })
        : gateway;
      const client = testClient({ url: by.url });
      made += 1;
      const table = `rows_${made}`;
      const sql = (text: string) => text.replaceAll('TABLE_', table);
      await writer.query(sql(setUp));
      await writer.query('SELECT rowcast.attach($1::regclass, $2)', [table, 'id']);
      const witness = new Witness(client, writer, table);
      await witness.tick();
      const [reader, other] = [follow(client, `${table}:a`), follow(client, `${table}:b`)];
      await Promise.all([reader.live(), other.live()]);
      const write = (key: string, value: string) =>
        writer.query(sql(`INSERT INTO ${table} (id, v) VALUES ('${key}', ${value})`));
      await write('a', good);
      await write('a', bad);
      await write('b', good);
      await write('a', good);
      await Promise.all([other.count(1), witness.tick()]);
      await reader.count(2);
      expect(reader.events.map(({ seq }) => seq)).toEqual([1, 3]);
      expect(reader.resets).toEqual([expect.stringMatching(/^(too_large|unreadable) \w+\.2$/)]);
      expect(other.resets).toEqual([]);
      const late = follow(testClient({ url: by.url }), `${table}:a`);
      await late.count(2);
      expect([late.events.map(({ seq }) => seq), late.resets]).toEqual([[1, 3], reader.resets]);
      const { frames } = await poll(by.url, [[`${table}:a`, 'start']], 0);
      expect(frames.map(({ type }) => type)).toEqual(['events', 'reset', 'events']);
      expect((frames[1] as { message?: string } | undefined)?.message).toContain(`event 2 of ${table}:a`);
      await witness.tick();
      witness.check();
      expect((await fetch(`${by.url}/readyz`)).status).toBe(200);
      if (hasOwn) await by.stop();
    },
    90_000,
  );

  test('I2: an application that cannot be told of a reset is not passed by: its subscription ends, and says why', async () => {
    await writer.query(`CREATE TABLE untold (id text NOT NULL, v text); SELECT rowcast.attach('untold', 'id')`);
    await writer.query(`INSERT INTO untold VALUES ('a', 'first'), ('a', repeat('x', ${17 * MiB})), ('a', 'third')`);
    const seen: number[] = [];
    const ended = new Promise((resolve) => {
      testClient({ url: gateway.url }).subscribe('untold:a', {
        since: 'start',
        onEvent: ({ seq }) => seen.push(seq),
        onState: (state, error) => state === 'closed' && resolve(error),
      });
    });
    expect(await ended).toMatchObject({ code: 'event_too_large' });
    expect(seen).toEqual([1]);
  });

  test('an event up to the limit arrives by every transport', async () => {
    await writer.query(`CREATE TABLE edge (id text NOT NULL, v text); SELECT rowcast.attach('edge', 'id')`);
    const wrapped = `{"id":"a","v":""}`.length;
    await writer.query(`INSERT INTO edge VALUES ('a', repeat('x', $1)), ('a', repeat('x', $2))`, [
      16 * MiB - wrapped,
      16 * MiB - wrapped + 1,
    ]);
    for (const transports of [['websocket'], ['sse'], ['poll']] as const) {
      const by = testClient({ url: gateway.url, transports });
      const reader = follow(by, 'edge:a');
      await reader.count(1);
      await until(() => reader.resets.length > 0, { what: `a reset by ${transports[0]}` });
      const [event] = reader.events;
      expect([event?.seq, (event?.row as { v?: string } | undefined)?.v?.length]).toEqual([1, 16 * MiB - wrapped]);
      expect(reader.resets).toEqual([expect.stringMatching(/^too_large \w+\.2$/)]);
      by.close();
    }
  }, 60_000);
});

test('bytes that are no text of the encoding arrive as the replacement character, and the witness misses nothing', async () => {
  const database = await createDatabase();
  const writer = await connectWriter(database.url);
  const gateway = await startTestGateway(database.url, { ROWCAST_LOG_LEVEL: 'silent' });
  const client = testClient({ url: gateway.url });
  try {
    // PostgreSQL checks what comes in; a cast that checks nothing lets it in all the same.
    await writer.query(`CREATE CAST (bytea AS text) WITHOUT FUNCTION;
      CREATE TABLE latin (id text NOT NULL, v text); SELECT rowcast.attach('latin', 'id')`);
    const witness = new Witness(client, writer);
    await witness.tick();
    const reader = follow(client, 'latin:a');
    await reader.live();
    await writer.query(`INSERT INTO latin VALUES ('a', 'good'), ('a', CAST('\\xe9'::bytea AS text))`);
    const unnamed = `INSERT INTO latin (id, v, seq) VALUES (CAST('\\xe9'::bytea AS text), 'of a key that no reader can name', 1)`;
    await expect(writer.query(unnamed)).rejects.toMatchObject({ code: '22021' });
    // By one that the triggers do not see, as a restored dump is.
    await writer.query(`BEGIN; SET LOCAL session_replication_role = replica; ${unnamed}; COMMIT`);
    await witness.tick();
    await writer.query(`INSERT INTO latin VALUES ('a', 'good')`);
    await reader.count(3);
    expect(reader.events.map(({ row }) => row.v)).toEqual(['good', '\ufffd', 'good']);
    expect(reader.resets).toEqual([]);
    await witness.tick();
    witness.check();
  } finally {
    client.close();
    await gateway.stop();
    await writer.end();
    await database.drop();
  }
});
