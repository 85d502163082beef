import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { migrate } from '../../server/postgres/migrate.js';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { lacks } from '../support/installed.mjs';
import { type EmbeddedPostgres, startEmbedded } from '../support/server.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution, processId } from '../support/writer.js';

const run = promisify(execFile);

/** Transactions that the source is ahead of a fresh cluster, at least. */
const AHEAD = 20_000;

const EVENTS = 500;

/** A cluster of the test run whose own pg_dump is installed; the embedded PostgreSQL has none. */
const dumpable = clusters()
  .map((cluster) => ({ ...cluster, binDir: `/usr/lib/postgresql/${Number.parseInt(cluster.version, 10)}/bin` }))
  .find(({ binDir }) => existsSync(join(binDir, 'pg_dump')));

/** Uses up transaction numbers until `condition` holds of the next one. */
async function burn(client: pg.Client, condition: string): Promise<void> {
  await client.query(`DO $$ BEGIN
    WHILE NOT (SELECT ${condition} FROM (SELECT pg_current_xact_id()::text::bigint AS next) n) LOOP COMMIT; END LOOP;
  END $$`);
}

async function countForeign(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM agent_execution_logs WHERE tx >= pg_snapshot_xmax(pg_current_snapshot())`,
  );
  return rows[0]?.n ?? 0;
}

(lacks('dump and restore', 'postgresql') ? describe.skip : describe)(
  'a dump that is restored in another cluster',
  () => {
    const { binDir = '', ...cluster } = dumpable ?? { version: '', url: '' };
    let directory: string;
    let source: TestDatabase;
    let target: EmbeddedPostgres;
    let execution: string;
    let highest: string;
    let oldEpoch: string;

    /** A dump has policies and rights for roles, but not the roles: those belong to the cluster. */
    async function copyRoles(): Promise<void> {
      const roles = join(directory, 'roles.sql');
      await run(join(binDir, 'pg_dumpall'), ['--roles-only', '-d', source.url, '-f', roles]);
      // Without --set=ON_ERROR_STOP: the superuser is there already.
      await run(join(binDir, 'psql'), ['-qX', '-f', roles, '-d', target.url]);
    }

    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), 'rowcast-restore-'));
      await chmod(directory, 0o755); // the server may run as another user
      source = await createDatabase(cluster);
      target = await startEmbedded({ dataDir: join(directory, 'target'), binDir, settings: { fsync: 'off' } });
      const writer = await connectWriter(source.url);
      await burn(writer, `next > ${AHEAD}`);
      execution = await newExecution(writer);
      for (let i = 0; i < EVENTS / 10; i++) await log(writer, execution, 10);
      const { rows } = await writer.query<{ epoch: string; highest: string }>(
        `SELECT epoch, (SELECT max(tx::text::bigint) FROM agent_execution_logs) AS highest
         FROM rowcast.streams WHERE name = 'execution'`,
      );
      oldEpoch = rows[0]?.epoch ?? '';
      highest = rows[0]?.highest ?? '';
      await writer.end();
      await run(join(binDir, 'pg_dump'), ['-Fc', '-f', join(directory, 'dump'), source.url]);
      await copyRoles();
    }, 60_000);
    afterAll(async () => {
      await target?.stop();
      await source?.drop();
      await rm(directory, { recursive: true, force: true });
    });

    async function restore(name: string): Promise<{ url: string; writer: pg.Client }> {
      const admin = await connectWriter(target.url);
      await admin.query(`CREATE DATABASE ${name}`);
      await admin.end();
      const url = new URL(`/${name}`, target.url).href;
      await run(join(binDir, 'pg_restore'), ['--no-owner', '--exit-on-error', '-d', url, join(directory, 'dump')]);
      expect(await migrate(url)).toEqual([]);
      return { url, writer: await connectWriter(url) };
    }

    /** What holds wherever the counter of the cluster stands. */
    async function goesOn(gateway: Gateway, writer: pg.Client): Promise<ReturnType<typeof follow>> {
      const channel = `execution:${execution}`;
      const old = follow(testClient({ url: gateway.url }), channel, `${oldEpoch}.${EVENTS - 100}`);
      const whole = follow(testClient({ url: gateway.url }), channel);
      await whole.count(EVENTS);
      await old.live();
      await log(writer, execution, 3, 'after');
      await whole.count(EVENTS + 3);
      await old.count(3);
      expect(whole.events.map(({ seq }) => seq)).toEqual(seqs(1, EVENTS + 3));
      expect(whole.resets).toEqual([]);
      expect(old.events.map(({ seq }) => seq)).toEqual(seqs(EVENTS + 1, 3));
      expect(old.resets).toEqual([expect.stringMatching(new RegExp(`^epoch (?!${oldEpoch})[a-z0-9]+\\.${EVENTS}$`))]);
      return whole;
    }

    test('I1 I2 I3: into one whose transaction numbers are far behind, and later when they come by', async () => {
      const { url, writer } = await restore('behind');
      expect(await countForeign(writer)).toBe(EVENTS);
      await writer.query('SELECT name, rowcast.new_epoch(name) FROM rowcast.streams');
      expect(await countForeign(writer)).toBe(0);
      const gateway = await startTestGateway(url);
      const whole = await goesOn(gateway, writer);
      // A row is read as new when the counter reaches its number. None has a number that is still to come.
      await burn(writer, `next > ${highest}`);
      await log(writer, execution, 1, 'last');
      await whole.count(EVENTS + 4);
      expect(whole.events.map(({ seq }) => seq)).toEqual(seqs(1, EVENTS + 4));
      await gateway.stop();
      const early = await writer.query(
        `SELECT FROM agent_execution_logs WHERE seq <= ${EVENTS} AND tx::text::bigint BETWEEN 3 AND ${highest}`,
      );
      expect(early.rowCount).toBe(0);
      await writer.end();
    });

    test('I1 I2 I3: into one whose transaction numbers are far ahead', async () => {
      const { url, writer } = await restore('ahead');
      expect(await countForeign(writer)).toBe(0);
      const before = await writer.query('SELECT xmin::text FROM agent_execution_logs ORDER BY seq');
      await writer.query('SELECT name, rowcast.new_epoch(name) FROM rowcast.streams');
      const after = await writer.query('SELECT xmin::text FROM agent_execution_logs ORDER BY seq');
      expect(after.rows).toEqual(before.rows); // nothing had to be rewritten
      const gateway = await startTestGateway(url);
      await goesOn(gateway, writer);
      await gateway.stop();
      await writer.end();
    });
  },
);

test.each(clusters())(
  'new_epoch on PostgreSQL $version: in the order of TRUNCATE, and no writer waits for it',
  async (cluster) => {
    const database = await createDatabase(cluster);
    const [caller, other] = await Promise.all([connectWriter(database.url), connectWriter(database.url)]);
    await other.query(`SET deadlock_timeout = '10ms'; BEGIN; LOCK TABLE rowcast.messages IN ACCESS EXCLUSIVE MODE`);
    const renewed = caller.query(`SELECT rowcast.new_epoch('message')`);
    await until(
      async () =>
        (await other.query('SELECT WHERE pg_blocking_pids($1) = ARRAY[$2::int]', [processId(caller), processId(other)]))
          .rowCount,
      { what: 'the call to wait' },
    );
    await other.query('TRUNCATE rowcast.messages; COMMIT');
    await renewed;
    await caller.query(`BEGIN; SELECT rowcast.new_epoch('message')`);
    await other.query(`SET statement_timeout = '10s'; SELECT rowcast.publish('message:epoch', 'x')`);
    await caller.query('COMMIT');
    await Promise.all([caller.end(), other.end()]);
    await database.drop();
  },
);

describe('positions that cannot be served', () => {
  let database: TestDatabase;
  let writer: pg.Client;
  let execution: string;

  beforeAll(async () => {
    database = await createDatabase();
    writer = await connectWriter(database.url);
    execution = await newExecution(writer);
  });
  afterAll(async () => {
    await writer.end();
    await database.drop();
  });

  test('new_epoch leaves the rows of its own transaction and of the others to the gateways', async () => {
    const gateway = await startTestGateway(database.url);
    const reader = follow(testClient({ url: gateway.url }), 'message:epoch');
    await reader.live();
    await writer.query('BEGIN');
    await writer.query(`SELECT rowcast.publish('message:epoch', 'x'); SELECT rowcast.new_epoch('message')`);
    const { rows } = await writer.query(`SELECT tx = pg_current_xact_id() AS own FROM rowcast.messages`);
    expect(rows).toEqual([{ own: true }]);
    await writer.query('COMMIT');
    await until(() => reader.resets.length === 1, { what: 'the reset' });
    await writer.query(`SELECT rowcast.publish('message:epoch', 'y')`);
    await until(() => reader.events.at(-1)?.type === 'y', { what: 'the next event' });
    await gateway.stop();
  });

  test('I2: beyond the head, the reader is told and goes on from there', async () => {
    const gateway = await startTestGateway(database.url);
    await log(writer, execution, 5);
    const channel = `execution:${execution}`;
    const { rows } = await writer.query<{ epoch: string }>(
      `SELECT epoch FROM rowcast.streams WHERE name = 'execution'`,
    );
    const epoch = rows[0]?.epoch;
    const reader = follow(testClient({ url: gateway.url }), channel, `${epoch}.999`);
    await until(() => reader.resets.length > 0, { what: 'the reset' });
    await log(writer, execution, 2);
    await reader.count(2);
    expect(reader.resets).toEqual([`ahead ${epoch}.5`]);
    expect(reader.events.map(({ seq }) => seq)).toEqual([6, 7]);
    await gateway.stop();
  });

  test('I1 I2 I3: pruned in the middle of a replay, the reader is told once, and has all that is left', async () => {
    const total = 20_000;
    const busy = await newExecution(writer);
    await log(writer, busy, total);
    const gateway = await startTestGateway(database.url, { ROWCAST_CACHE_BYTES: '1024' }, { pageRows: 10 });
    const reader = follow(testClient({ url: gateway.url }), `execution:${busy}`);
    await reader.count(200);
    const { rows } = await writer.query(
      `SELECT rowcast.prune('execution', keep_rows => 50, batch => ${2 * total})::int AS pruned`,
    );
    expect(rows).toEqual([{ pruned: total - 50 }]);
    await until(() => reader.events.at(-1)?.seq === total, { deadlineMs: 20_000, what: 'the last event' });
    const position = Number(/^pruned \w+\.(\d+)$/.exec(reader.resets[0] ?? '')?.[1]);
    const before = reader.events.findIndex(({ seq }) => seq > position);
    expect(reader.resets).toHaveLength(1);
    expect(position).toBe(total - 50);
    expect(before).toBeLessThan(total - 50);
    expect(reader.events.map(({ seq }) => seq)).toEqual([...seqs(1, before), ...seqs(position + 1, 50)]);
    await log(writer, busy, 1);
    await until(() => reader.events.at(-1)?.seq === total + 1, { what: 'the next event' });
    await gateway.stop();
  });
});
