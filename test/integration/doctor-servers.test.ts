import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Finding } from '../../server/doctor/check.js';
import { migrate } from '../../server/postgres/migrate.js';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { complaints, findingsAt, fixFor } from '../support/doctor.js';
import { follow } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { lacks } from '../support/installed.mjs';
import { startPgBouncer } from '../support/pgbouncer.js';
import { type EmbeddedPostgres, startEmbedded } from '../support/server.js';
import { startStandby } from '../support/standby.js';
import { until } from '../support/until.js';
import { connectWriter, processId } from '../support/writer.js';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rowcast-doctor-'));
  await chmod(folder, 0o755);
});
afterAll(() => rm(folder, { recursive: true }));

const about = (all: readonly Finding[], name: string) => all.find((finding) => finding.name === name);

test.each(clusters())('all is well on PostgreSQL $version', async (cluster) => {
  const database = await createDatabase(cluster);
  const all = await findingsAt(database.url);
  await database.drop();
  expect(complaints(all)).toEqual([]);
  expect(about(all, 'version')?.found).toContain(`PostgreSQL ${cluster.version}`);
});

(lacks('doctor behind PgBouncer', 'pgbouncer') ? describe.skip : describe)('behind PgBouncer', () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await createDatabase();
  });
  afterEach(() => database.drop());

  test('in transaction mode: neither notifications nor locks pass, and nothing stays behind', async () => {
    const bouncer = await startPgBouncer({ databaseUrl: database.url, poolMode: 'transaction' });
    const writer = await connectWriter(database.url);
    try {
      expect(complaints(await findingsAt(bouncer.url))).toEqual([
        expect.stringMatching(/^pooler fault: a pooler in transaction mode/),
        expect.stringMatching(/^notify fault: .*did not arrive/),
        expect.stringMatching(/^locks fault: an advisory lock was lost/),
      ]);
      const { rows } = await writer.query(
        `SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
      );
      expect(rows).toEqual([]);
    } finally {
      await writer.end();
      await bouncer.stop();
    }
  });

  test('in transaction mode: neither migrate nor a gateway begins, and both say why', async () => {
    const bouncer = await startPgBouncer({ databaseUrl: database.url, poolMode: 'transaction', poolSize: 2 });
    try {
      const why = /^the database is reached through a pooler in transaction mode.*pool_mode = session/;
      await expect(migrate(bouncer.url)).rejects.toThrow(why);
      await expect(startTestGateway(bouncer.url, { ROWCAST_LOG_LEVEL: 'silent' })).rejects.toThrow(why);
    } finally {
      await bouncer.stop();
    }
  });

  test('in session mode: a gateway works', async () => {
    const bouncer = await startPgBouncer({ databaseUrl: database.url, poolMode: 'session' });
    const writer = await connectWriter(database.url);
    const gateway = await startTestGateway(bouncer.url);
    try {
      const lobby = follow(testClient({ url: gateway.url }), 'message:lobby', 'start');
      await lobby.live();
      await writer.query(`SELECT rowcast.publish('message:lobby', 'hello')`);
      await lobby.count(1);
      lobby.subscription.close();
    } finally {
      await gateway.stop();
      await writer.end();
      await bouncer.stop();
    }
  });

  test('in session mode: all is well', async () => {
    const bouncer = await startPgBouncer({ databaseUrl: database.url, poolMode: 'session' });
    try {
      const all = await findingsAt(bouncer.url);
      expect(complaints(all)).toEqual([]);
      expect(about(all, 'pooler')?.found).toBe('a pooler in session mode');
    } finally {
      await bouncer.stop();
    }
  });
});

describe('a server of its own', () => {
  let server: EmbeddedPostgres;
  let writer: pg.Client;

  beforeAll(async () => {
    const rules = join(folder, 'pg_hba.conf');
    await writeFile(rules, 'host all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n');
    server = await startEmbedded({
      dataDir: join(folder, 'data'),
      settings: {
        hba_file: rules,
        fsync: 'off',
        max_connections: '10',
        superuser_reserved_connections: '1',
        max_prepared_transactions: '2',
        // Half a megabyte instead of 8 GB.
        max_notify_queue_pages: '64',
      },
    });
    await migrate(server.url, { with: ['executions'] });
    writer = await connectWriter(server.url);
  }, 30_000);
  afterAll(async () => {
    await writer.end();
    await server.stop();
  });

  test('refuses a wrong password', async () => {
    await writer.query(`CREATE ROLE guarded LOGIN PASSWORD 'richtig'`);
    const wrong = Object.assign(new URL(server.url), { username: 'guarded', password: 'geheim' }).href;
    const all = await findingsAt(wrong);
    expect(about(all, 'connection')).toMatchObject({
      verdict: 'fault',
      found: expect.stringContaining('as guarded cannot be reached: password authentication failed'),
      fix: expect.stringContaining('password into DATABASE_URL'),
    });
    expect(JSON.stringify(all)).not.toContain('geheim');
    const missing = await findingsAt(server.url.replace(/postgres$/, 'nowhere'));
    expect(about(missing, 'connection')?.fix).toContain('Create the database');
  });

  test('has no room for a gateway, nor then for the doctor', async () => {
    const others = [await connectWriter(server.url), await connectWriter(server.url)];
    expect(complaints(await findingsAt(server.url))).toEqual([
      expect.stringMatching(/^connections fault: 3 of 9 are used \(max_connections\); a gateway opens up to 7/),
    ]);
    expect(complaints(await findingsAt(server.url, { gatewayConnections: 6 }))).toEqual([]);
    while (others.length < 9) others.push(await connectWriter(server.url));
    expect(about(await findingsAt(server.url), 'connection')).toMatchObject({
      verdict: 'fault',
      found: expect.stringContaining('too many clients'),
      fix: expect.stringContaining('max_connections'),
    });
    for (const other of others) await other.end();
    const alone = `SELECT FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`;
    await until(async () => (await writer.query(alone)).rows.length === 0, { what: 'the other sessions to end' });
    await writer.query('CREATE ROLE few LOGIN CONNECTION LIMIT 6 IN ROLE rowcast_gateway');
    const few = Object.assign(new URL(server.url), { username: 'few' }).href;
    expect(complaints(await findingsAt(few))).toEqual([
      expect.stringMatching(/^connections fault: 0 of 6 are used \(the limit of the role\)/),
    ]);
  });

  /** Here, because roles belong to the whole cluster. */
  test('has roles that may do too much, or not enough, or are not there', async () => {
    const mends = async (sql: string, complaint: RegExp) => {
      await writer.query(sql);
      const all = await findingsAt(server.url);
      expect(complaints(all)).toEqual([expect.stringMatching(complaint)]);
      await writer.query(fixFor(all, complaint));
      expect(complaints(await findingsAt(server.url))).toEqual([]);
    };
    await mends('ALTER ROLE authenticated BYPASSRLS', /^access fault: no policy applies to authenticated/);
    const member = 'ALTER ROLE authenticated INHERIT; GRANT service_role TO authenticated';
    await mends(
      member,
      /^access fault: authenticated is a member of service_role, and therefore can read every channel/,
    );
    await writer.query('REVOKE service_role FROM rowcast_gateway; ALTER ROLE rowcast_gateway INHERIT');
    await writer.query('GRANT service_role TO rowcast_gateway');
    const inherits = await findingsAt(server.url);
    expect(complaints(inherits)).toEqual([
      expect.stringMatching(/^access warning: rowcast_gateway inherits the rights of service_role/),
    ]);
    await writer.query(fixFor(inherits, /^access warning/));
    await writer.query('REVOKE anon FROM rowcast_gateway');
    const apart = await findingsAt(server.url);
    expect(about(apart, 'rights')?.found).toBe(
      'rights that the migrations granted are missing: anon TO rowcast_gateway',
    );
    await writer.query(fixFor(apart, /^rights/));
    expect(complaints(await findingsAt(server.url))).toEqual([]);
    await writer.query('ALTER ROLE anon RENAME TO nobody');
    expect(about(await findingsAt(server.url), 'rights')).toMatchObject({
      found: 'there is no role anon',
      fix: expect.stringMatching(/^CREATE ROLE anon NOLOGIN NOINHERIT;/),
    });
    await writer.query('ALTER ROLE nobody RENAME TO anon');
  });

  test('has prepared transactions that wait', async () => {
    await writer.query(`BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'it''s late'`);
    const all = await findingsAt(server.url, { longTransaction: 0.001 });
    expect(about(all, 'prepared')).toMatchObject({ verdict: 'warning', fix: expect.stringContaining(`'it''s late'`) });
    await writer.query(`ROLLBACK PREPARED 'it''s late'`);
  });

  test('has a queue of notifications that fills up, and a session that holds it back', async () => {
    const listener = await connectWriter(server.url);
    await listener.query('LISTEN anything');
    await listener.query('BEGIN; SELECT 1');
    const flood = async (count: number) => {
      for (let sent = 0; sent < count; sent += 1) {
        await writer.query(`SELECT pg_notify('anything', repeat('x', 7000) || $1::text)`, [sent]);
      }
    };
    await flood(16);
    const filling = about(await findingsAt(server.url), 'queue');
    expect(filling).toMatchObject({ verdict: 'warning', found: expect.stringContaining(`pid ${processId(listener)}`) });
    await flood(24);
    const full = about(await findingsAt(server.url), 'queue');
    expect(full).toMatchObject({ verdict: 'fault', found: expect.stringMatching(/ [56]\d % full/) });
    listener.on('error', () => {});
    await writer.query(/SELECT pg_terminate_backend\(\d+\);/.exec(full?.fix ?? '')?.[0] ?? '');
    await flood(1); // whoever sends cleans up
    expect(about(await findingsAt(server.url), 'queue')?.verdict).toBe('ok');
    await listener.end().catch(() => {});
  });
});

(lacks('doctor at a standby', 'postgresql') ? test.skip : test)(
  'a standby is named as such, and its primary as well',
  async () => {
    const standby = await startStandby(folder);
    try {
      const all = await findingsAt(standby.url);
      expect(about(all, 'primary')).toMatchObject({
        verdict: 'fault',
        fix: expect.stringContaining(`127.0.0.1:${standby.primary.port}`),
      });
      expect(all.filter(({ verdict }) => verdict === 'fault')).toHaveLength(1);
      expect(about(all, 'notify')?.found).toContain('cannot execute LISTEN during recovery');
    } finally {
      await standby.stop();
    }
  },
  60_000,
);
