import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Client } from '../../client/node.js';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { poll } from '../support/poll.js';
import { makeTroubled, statement, streamTroubles } from '../support/troubles.js';
import { until } from '../support/until.js';
import { Witness } from '../support/witness.js';
import { connectWriter } from '../support/writer.js';

/** What the witness may wait while a table breaks, in milliseconds: usual is below ten, and the machine is shared. */
const LONGEST = 2_500;

interface Readiness {
  readonly status: string;
  readonly streams: Record<string, { state: string; reason: string }>;
}

describe.each(clusters())('a stream that cannot be read, on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let gateway: Gateway;
  let writer: pg.Client;
  let breaker: pg.Client;
  let client: Client;
  let made = 0;
  /** What mends the table of a test that has not mended it yet: a lock that stays would hold up every test on this server. */
  let broken: string | null = null;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
    breaker = await connectWriter(database.url);
    gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_LOG_LEVEL: 'silent' });
  });
  beforeEach(() => {
    client = testClient({ url: gateway.url });
  });
  afterEach(async () => {
    if (broken !== null) await breaker.query(broken);
    broken = null;
  });
  afterAll(async () => {
    await gateway.stop();
    await Promise.all([writer.end(), breaker.end()]);
    await database.drop();
  });

  const readiness = async () => {
    const response = await fetch(`${gateway.url}/readyz`);
    return { ...((await response.json()) as Readiness), http: response.status };
  };

  test.each(streamTroubles)(
    'I2 I9: $name stops no other stream, and the stream is complete when it is mended',
    async ({ breaks, heals, noWrites = false }) => {
      made += 1;
      const table = `troubled_${made}`;
      await makeTroubled(writer, table);
      const witness = new Witness(client, writer, table);
      await witness.tick();
      const said: string[] = [];
      const reader = follow(client, `${table}:a`, 'start', (_, error) => {
        if (error !== undefined) said.push(error.code);
      });
      await reader.live();
      let written = 0;
      const write = async () => {
        await writer.query(`INSERT INTO ${table} (id, v) VALUES ('a', $1), ('b', $1)`, [written]);
        written += 1;
      };
      await write();
      await reader.count(1);

      await breaker.query(statement(breaks, table));
      broken = statement(heals, table);
      if (!noWrites) await write();
      for (let tick = 0; tick < 5; tick += 1) await witness.tick();
      if (!noWrites) await write();
      await witness.tick();
      expect(reader.events).toHaveLength(1);
      // The catalog is read every ten seconds, and when a client names a stream that is not known.
      await poll(gateway.url, [['unknown:a', 'start']], 0);
      // What the stream says of itself: to present readers, to new ones, and to the operator.
      await until(() => said.includes('stream_unreadable'), { what: 'the reader to be told' });
      const polled = await poll(
        gateway.url,
        [
          [`${table}:c`, 'start'],
          [witness.channel, 'start'],
        ],
        0,
      );
      expect(polled.frames.some(({ type, channel }) => type === 'events' && channel === witness.channel)).toBe(true);
      const { http, status } = await readiness();
      expect([http, status]).toEqual([200, 'ready']);
      await witness.tick();

      await breaker.query(broken);
      broken = null;
      await write();
      await reader.count(written, 25_000);
      expect(reader.events.map(({ seq }) => seq)).toEqual(seqs(1, written));
      expect(reader.resets).toEqual([]);
      await until(async () => Object.keys((await readiness()).streams).length === 0, {
        deadlineMs: 25_000,
        what: 'the stream to be well again',
      });
      await write();
      await reader.count(written, 2_000);
      await witness.tick();
      witness.check();
      expect(Math.max(...witness.latencies)).toBeLessThan(LONGEST);
    },
    90_000,
  );
});
