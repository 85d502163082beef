import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { follow } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { poll } from '../support/poll.js';
import { Witness } from '../support/witness.js';
import { connectWriter } from '../support/writer.js';
import { channelOf, populate, rowsOf, type Species, zoo } from '../support/zoo.js';

describe.each(clusters())('the zoo on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let gateway: Gateway;
  let writer: pg.Client;
  let species: Species[];

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
    species = await populate(writer, zoo, Number.parseInt(cluster.version, 10));
    gateway = await startTestGateway(database.url, NO_RATES);
  }, 60_000);
  afterAll(async () => {
    await gateway.stop();
    await writer.end();
    await database.drop();
  });

  test('I2: tables of every sort arrive as PostgreSQL writes them, live and as history', async () => {
    const client = testClient({ url: gateway.url });
    const witness = new Witness(client, writer);
    await witness.tick();
    for (const animal of species) {
      const channel = channelOf(animal);
      const live = follow(client, channel, 'start');
      await live.live();
      await writer.query(animal.insert);
      await live.count(1, 5_000).catch(() => {
        throw new Error(`${channel} is silent`);
      });
      await writer.query(animal.insert);
      await live.count(2, 5_000);
      const rows = await rowsOf(writer, animal);
      expect([channel, live.events.map(({ row }) => row)]).toEqual([channel, rows]);
      live.subscription.close();
      const { frames } = await poll(gateway.url, [[channel, 'start']], 0);
      const [history] = frames.filter(({ type }) => type === 'events') as unknown as { events: unknown[] }[];
      expect([channel, history?.events]).toEqual([channel, rows]);
    }
    await witness.tick();
    witness.check();
    const ready = await fetch(`${gateway.url}/readyz`);
    expect([ready.status, await ready.json()]).toMatchObject([200, { status: 'ready', streams: {} }]);
    client.close();
  }, 120_000);
});
