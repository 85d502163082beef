/** The set-up of docker-compose.yml, on a fresh cluster of each PostgreSQL that is there: undefined is the embedded one. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { migrate } from '../../server/postgres/migrate.js';
import { testClient } from '../support/client.js';
import { compose } from '../support/compose.js';
import { findingsAt } from '../support/doctor.js';
import { follow } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { postgresFolders } from '../support/installed.mjs';
import { packagedFolders } from '../support/postgres-packages.mjs';
import { connectWriter } from '../support/writer.js';

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
