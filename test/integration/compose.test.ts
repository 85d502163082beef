/** The set-up of docker-compose.yml, on a fresh cluster of each PostgreSQL that is there: undefined is the embedded one. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type pg from 'pg';
import { migrate } from '../../server/postgres/migrate.js';
import { testClient } from '../support/client.js';
import { compose } from '../support/compose.js';
import { findingsAt } from '../support/doctor.js';
import { follow } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { postgresFolders } from '../support/installed.mjs';
import { packagedFolders } from '../support/postgres-packages.mjs';
import { connectWriter } from '../support/writer.js';

/** What attach makes, on this version: numbers, refusals, floors, partitions, other names, and detach. */
async function attaches(writer: pg.Client, url: string): Promise<void> {
  await writer.query(`
    CREATE TABLE kept (id text NOT NULL, seq text, at timestamptz NOT NULL DEFAULT now());
    INSERT INTO kept (id, seq) VALUES ('a', 'x'), ('b', 'y'), ('a', 'z');
    SELECT rowcast.attach('kept', 'id', seq => 'n', tx => 'x');
    CREATE TABLE parted (id text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
    SELECT rowcast.attach('parted', 'id');
    INSERT INTO parted VALUES ('a', '2026-01-05'), ('a', '2026-02-05');
    CREATE UNLOGGED TABLE refused (id text NOT NULL)`);
  await expect(writer.query(`SELECT rowcast.attach('refused', 'id')`)).rejects.toMatchObject({ code: '42809' });
  await expect(writer.query(`UPDATE kept SET n = 9`)).rejects.toMatchObject({ code: '23001' });
  const others = await Promise.all(Array.from({ length: 4 }, () => connectWriter(url)));
  await Promise.all(others.map((other) => other.query(`INSERT INTO kept (id) SELECT 'a' FROM generate_series(1, 50)`)));
  await Promise.all(others.map((other) => other.end()));
  await writer.query(`DELETE FROM kept WHERE n <= 3; SELECT rowcast.prune('kept', keep_rows => 100)`);
  await writer.query(`SELECT rowcast.drop_partition('parted_1'); INSERT INTO parted VALUES ('a', '2026-02-06')`);
  const { rows } = await writer.query(`
    SELECT (SELECT array_agg(DISTINCT n ORDER BY n) = array(SELECT generate_series(103::bigint, 202)) FROM kept WHERE id = 'a') AS kept,
           (SELECT array_agg(seq::int ORDER BY seq) FROM parted) AS parted`);
  expect(rows).toEqual([{ kept: true, parted: [2, 3] }]);
  await writer.query(`SELECT rowcast.detach('kept'), rowcast.detach('parted'); DROP TABLE refused`);
}

test.each([undefined, ...packagedFolders(), ...postgresFolders()])(
  'migrates and runs with the programs in %s',
  async (binDir) => {
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-compose-'));
    await chmod(folder, 0o755); // root makes it, and another user runs the server
    const composed = await compose(folder, binDir);
    try {
      expect(await migrate(composed.url, { with: ['executions'] })).toContain('core/05-attach.sql');
      const writer = await connectWriter(composed.url);
      const gateway = await startTestGateway(composed.url);
      const client = testClient({ url: gateway.url });
      await writer.query(`CREATE TABLE orders (order_id bigint NOT NULL, note text); INSERT INTO orders VALUES (7, 'one');
      SELECT rowcast.attach('orders', 'order_id')`);
      const reader = follow(client, 'orders:7');
      await writer.query(`INSERT INTO orders VALUES (7, 'two')`);
      await reader.count(2);
      expect(reader.events.map(({ row }) => row.note)).toEqual(['one', 'two']);
      await attaches(writer, composed.url);
      const faults = (await findingsAt(composed.url)).filter(({ verdict }) => verdict === 'fault');
      expect(faults.map(({ found }) => found)).toEqual([]);
      client.close();
      await gateway.stop();
      await writer.end();
    } finally {
      await composed.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
);
