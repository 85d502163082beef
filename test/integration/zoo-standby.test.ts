import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { makeLogger } from '../../server/ground/logger.js';
import { Metrics } from '../../server/ground/metrics.js';
import { systemClock } from '../../server/ports/clock.js';
import { Tail } from '../../server/postgres/tail.js';
import { testClient } from '../support/client.js';
import { follow, seqs } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { lacks } from '../support/installed.mjs';
import { startProxy } from '../support/proxy.js';
import { startStandby } from '../support/standby.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

(lacks('switchover to a standby', 'postgresql') ? test.skip : test)(
  'I2 I9: an address that comes to lead to a hot standby: the gateway waits for its promotion, and no row is lost',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-standby-'));
    await chmod(folder, 0o755);
    const pair = await startStandby(folder);
    const [primaryPort, standbyPort] = [pair.primary.port, Number(new URL(pair.url).port)];
    const proxy = await startProxy(primaryPort);
    const address = `postgres://postgres@127.0.0.1:${proxy.port}/postgres`;
    const gateway = await startTestGateway(address, { ROWCAST_LOG_LEVEL: 'silent' });
    const client = testClient({ url: gateway.url });
    const ready = async () => (await fetch(`${gateway.url}/readyz`)).status;
    let writer = await connectWriter(pair.primary.url);
    try {
      const tail = new Tail({
        databaseUrl: pair.url,
        silenceTimeout: 3_000,
        clock: systemClock,
        logger: makeLogger('silent'),
        metrics: new Metrics(),
      });
      await expect(tail.start({ moved: () => {}, recheckAll: () => {}, recheck: () => {} })).rejects.toThrow(
        /hot standby/,
      );
      await tail.stop();

      const reader = follow(client, 'message:lobby');
      await reader.live();
      let written = 0;
      const publish = async () => {
        await writer.query(`SELECT rowcast.publish('message:lobby', 'log')`);
        written += 1;
      };
      await publish();
      await reader.count(1);
      // The address leads to the standby, while transactions are open on the primary that it knows nothing of.
      const open = await connectWriter(pair.primary.url);
      await open.query(`BEGIN; SELECT rowcast.publish('message:lobby', 'log')`);
      proxy.retarget(standbyPort);
      proxy.reset();
      await until(async () => (await ready()) === 503, { what: 'the gateway to notice' });
      await open.query('COMMIT');
      written += 1;
      await open.end();
      for (let row = 0; row < 20; row += 1) await publish();
      expect(reader.events).toHaveLength(1);
      expect(await ready()).toBe(503);
      // What the standby has got is what the primary had.
      const follower = await connectWriter(pair.url);
      await until(
        async () =>
          (await follower.query<{ n: number }>(`SELECT count(*)::int AS n FROM rowcast.messages`)).rows[0]?.n ===
          written,
        { what: 'the standby to catch up' },
      );
      await writer.end();
      await follower.query('SELECT pg_promote(true, 30)');
      writer = follower;
      await until(async () => (await ready()) === 200, { deadlineMs: 20_000, what: 'the gateway to be back' });
      await publish();
      await reader.count(written);
      expect(reader.events.map(({ seq }) => seq)).toEqual(seqs(1, written));
      expect(reader.resets).toEqual([]);
    } finally {
      client.close();
      await gateway.stop();
      await writer.end();
      proxy.reset();
      await proxy.close();
      await pair.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
  120_000,
);
