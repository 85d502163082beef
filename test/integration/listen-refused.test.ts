import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { Listener } from '../../server/postgres/listener.js';
import { silent } from '../support/fakes.js';
import { lacks } from '../support/installed.mjs';
import { startProxy } from '../support/proxy.js';
import { startStandby } from '../support/standby.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

(lacks('a listener at a standby', 'postgresql') ? test.skip : test)(
  'a listener that came to a standby, which knows no LISTEN, tries until it is at a primary again',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-listen-'));
    await chmod(folder, 0o755); // PostgreSQL does not run as root
    const { primary, url, stop } = await startStandby(folder);
    const proxy = await startProxy(primary.port);
    let rings = 0;
    const listener = new Listener({
      databaseUrl: proxy.via(primary.url),
      silenceTimeout: 1_000,
      logger: silent,
      doorbell: {
        ring: () => {
          rings += 1;
        },
      },
      access: { changed: () => {} },
    });
    try {
      await listener.start();
      proxy.retarget(Number(new URL(url).port));
      proxy.reset();
      await until(() => !listener.connected, { what: 'the connection to be lost' });
      const reader = await connectWriter(url);
      const refused = async () => {
        const { rows } = await reader.query(`SELECT FROM pg_stat_activity WHERE query ILIKE 'LISTEN%'`);
        return rows.length > 0;
      };
      await until(refused, { what: 'a LISTEN at the standby' });
      await reader.end();
      expect(listener.connected).toBe(false);
      proxy.retarget(primary.port);
      await until(() => listener.connected, { what: 'the listener to be back' });
      const before = rings; // it has rung because it is connected
      const writer = await connectWriter(primary.url);
      await writer.query('NOTIFY rowcast');
      await until(() => rings > before, { what: 'the doorbell' });
      await writer.end();
    } finally {
      await listener.stop();
      await proxy.close();
      await stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
);
