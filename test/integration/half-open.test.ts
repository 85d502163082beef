import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { Listener } from '../../server/postgres/listener.js';
import { endsInSilence } from '../../server/postgres/silence.js';
import type { Config } from '../../server/settings/config.js';
import { testClient } from '../support/client.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { settle, silent } from '../support/fakes.js';
import { follow, seqs } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { type Directions, type FaultProxy, startProxy } from '../support/proxy.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution } from '../support/writer.js';

/** Of the gateway, in milliseconds. What it promises follows from these; the machine of the tests may be busy. */
const SILENCE = 600;
const HEARTBEAT = 400;
const SLACK = 1_500;
const DIRECTIONS: Directions[] = ['up', 'down', 'both'];
const SETTINGS = {
  ROWCAST_SILENCE_TIMEOUT: `${SILENCE}`,
  ROWCAST_HEARTBEAT: `${HEARTBEAT}`,
  ROWCAST_ADDRESS_REQUEST_RATE: '10000',
  ROWCAST_ADDRESS_POLL_RATE: '10000',
};

let database: TestDatabase;
let writer: pg.Client;
let proxy: FaultProxy;
let gateways: Gateway[];

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  await writer.end();
  await database.drop();
});

async function gatewayOn(
  url: string,
  settings: Record<string, string> = {},
  values: Partial<Config> = {},
): Promise<Gateway> {
  const gateway = await startTestGateway(url, { ...SETTINGS, ROWCAST_LOG_LEVEL: 'silent', ...settings }, values);
  gateways.push(gateway);
  return gateway;
}

/** How many milliseconds it took until `condition` held. */
async function timeUntil(condition: () => boolean | Promise<boolean>, what: string): Promise<number> {
  const began = fairNow();
  await until(condition, { what });
  return fairNow() - began;
}

async function readiness({ url }: Gateway): Promise<{ status: number; checks: Record<string, boolean> }> {
  const response = await fetch(`${url}/readyz`);
  const { checks } = (await response.json()) as { checks: Record<string, boolean> };
  return { status: response.status, checks };
}

async function standStill(): Promise<void> {
  const end = performance.now() + 500;
  while (performance.now() < end);
  await settle();
  await settle();
}

describe('between the gateway and the database', () => {
  beforeEach(async () => {
    gateways = [];
    proxy = await startProxy(Number(new URL(database.url).port));
  });
  afterEach(async () => {
    proxy.heal();
    await Promise.all(gateways.map((gateway) => gateway.stop()));
    await proxy.close();
  });

  test.each(DIRECTIONS)(
    'I1 I2 I3 I9: half open (%s): readyz says so in time, and all goes on by itself once it heals',
    async (direction) => {
      const gateway = await gatewayOn(proxy.via(database.url));
      const execution = await newExecution(writer);
      const follower = follow(testClient({ url: gateway.url }), `execution:${execution}`);
      await log(writer, execution, 10);
      await follower.count(10);

      proxy.swallow(direction);
      const noticed = await timeUntil(async () => {
        const { status, checks } = await readiness(gateway);
        return status === 503 && !checks.database && !checks.listen && !checks.tail;
      }, 'readyz to name every check');
      expect(noticed).toBeLessThan(SILENCE + SLACK);
      for (let row = 0; row < 40; row += 1) await log(writer, execution);
      expect(follower.events).toHaveLength(10);
      expect(follower.subscription.state).toBe('live'); // its client is none the wiser

      proxy.heal();
      await until(async () => (await readiness(gateway)).status === 200, { what: 'readyz to say that it is well' });
      await follower.count(50);
      await log(writer, execution);
      await follower.count(51);
      expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, 51));
      expect(follower.resets).toEqual([]);
    },
  );

  test('I9: a gateway that is cut off while it holds the gate keeps no writer from ringing for long', async () => {
    const awake = await gatewayOn(proxy.via(database.url), { ROWCAST_WAKE_RATE: '1' }, { sleepRate: 1 });
    const other = await gatewayOn(database.url, { ROWCAST_WAKE_RATE: '1000000' }, { safetyInterval: 3_600_000 });
    const execution = await newExecution(writer);
    const follower = follow(testClient({ url: other.url }), `execution:${execution}`);
    await follower.live();
    let rows = 0;
    const write = async () => {
      rows += 1;
      await log(writer, execution);
    };
    await until(
      async () => {
        await write();
        const { rows } = await writer.query(
          `SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1919907683 AND objid = 1 AND granted
              AND mode = 'ExclusiveLock'
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
        );
        return rows.length > 0;
      },
      { what: 'the gate to be held' },
    );
    await follower.count(rows);

    proxy.swallow('both');
    const heard = follower.events.length;
    const silence = await timeUntil(async () => {
      await write();
      return follower.events.length > heard;
    }, 'the other gateway to hear of a row again');
    expect(silence).toBeLessThan(2_000 + 2 * SLACK); // the lease of the gate
    proxy.heal();
    await until(async () => (await readiness(awake)).status === 200, { what: 'the first one to be well again' });
    await write();
    await follower.count(rows);
    expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, rows));
  });

  test.each(DIRECTIONS)('a LISTEN that is half open (%s) is noticed, and made anew', async (direction) => {
    let rings = 0;
    let connections = 0;
    const listener = new Listener({
      databaseUrl: proxy.via(database.url),
      silenceTimeout: SILENCE,
      logger: silent,
      doorbell: {
        ring: () => {
          rings += 1;
        },
      },
      access: {
        changed: () => {
          connections += 1; // nothing else is notified here
        },
      },
    });
    await listener.start();
    try {
      const checks = new Set<string>();
      const checked = async () => {
        const { rows } = await writer.query<{ id: string }>(
          `SELECT pid || ' ' || query_start AS id FROM pg_stat_activity
            WHERE application_name = 'rowcast listener' AND datname = current_database()`,
        );
        for (const { id } of rows) checks.add(id);
        return checks.size > 5;
      };
      await until(checked, { what: 'some checks' });
      expect(new Set([...checks].map((id) => id.split(' ')[0])).size).toBe(1); // one that is well is left alone
      expect(connections).toBe(1);

      proxy.swallow(direction);
      const attempts = proxy.connections;
      const noticed = await timeUntil(() => !listener.connected, 'the listener to notice');
      expect(noticed).toBeLessThan(SILENCE + SLACK);
      // The far ends of attempts that were given up stay, where their end does not pass.
      if (direction !== 'down') await until(() => proxy.connections > attempts + 2, { what: 'vain attempts' });
      proxy.heal();
      await until(() => listener.connected, { what: 'the listener to be back' });
      expect(connections).toBe(2);
      await writer.query('NOTIFY rowcast');
      await until(() => rings === connections + 1, { what: 'the doorbell' });
    } finally {
      await listener.stop();
    }
  });

  test('a connection that takes its time is not silent: an answer as slow as the line comes through', async () => {
    const gateway = await gatewayOn(proxy.via(database.url));
    const execution = await newExecution(writer);
    const follower = follow(testClient({ url: gateway.url }), `execution:${execution}`);
    await follower.live();
    proxy.throttle(60_000);
    await log(writer, execution, 100, 'x'.repeat(1_000)); // at this pace longer than the silence that is borne
    await follower.count(100);
    expect(proxy.connections).toBeGreaterThan(1);
    expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, 100));
  });
});

describe('between a client and the gateway', () => {
  let gateway: Gateway;
  let execution: string;

  beforeEach(async () => {
    gateways = [];
    gateway = await gatewayOn(database.url);
    proxy = await startProxy(Number(new URL(gateway.url).port));
    execution = await newExecution(writer);
    await log(writer, execution, 10);
  });
  afterEach(async () => {
    proxy.heal();
    await Promise.all(gateways.map((started) => started.stop()));
    await proxy.close();
  });

  async function subscribers(): Promise<number> {
    const { channels } = (await (await fetch(`${gateway.url}/v1/channels`)).json()) as {
      channels: { channel: string; subscribers: number }[];
    };
    return channels.find(({ channel }) => channel === `execution:${execution}`)?.subscribers ?? 0;
  }

  test.each(DIRECTIONS)(
    'I1 I2 I3: half open (%s): the client notices, the gateway lets go of its cursors, and all goes on',
    async (direction) => {
      const client = testClient({ url: proxy.via(gateway.url) });
      const follower = follow(client, `execution:${execution}`);
      await follower.count(10);
      expect(await subscribers()).toBe(1);

      proxy.swallow(direction);
      const began = fairNow();
      await Promise.all([
        // Where only its own frames vanish it is the gateway that notices, before its third heartbeat is over.
        until(() => client.state !== 'connected', { what: 'the client to notice' }).then(() => {
          expect(fairNow() - began).toBeLessThan((direction === 'up' ? 3 : 2.5) * HEARTBEAT + SLACK);
        }),
        until(async () => (await subscribers()) === 0, { what: 'the gateway to let go' }).then(() => {
          expect(fairNow() - began).toBeLessThan(3 * HEARTBEAT + SLACK);
        }),
        log(writer, execution, 5),
      ]);
      await log(writer, execution, 5);

      proxy.heal();
      await follower.count(20);
      await follower.live();
      await log(writer, execution);
      await follower.count(21);
      expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, 21));
      expect(follower.resets).toEqual([]);
    },
  );

  test('I7: a closed client does not wait long for a gateway that does not answer', async () => {
    const client = testClient({ url: proxy.via(gateway.url) });
    await follow(client, `execution:${execution}`).count(10);
    proxy.swallow('down');
    const sockets = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
    const before = sockets();
    client.close();
    // Its own, that of the gateway, and that of the proxy to the gateway; the fourth still hears nothing.
    const lingering = await timeUntil(() => sockets() <= before - 3, 'its socket to be gone');
    expect(lingering).toBeLessThan(2_000 + SLACK);
  });
});

test('a process that stood still itself does not take the database for silent', async () => {
  const client = new pg.Client({
    connectionString: database.url,
    application_name: TEST_SESSION,
    stream: endsInSilence(200, () => true),
  });
  const errors: string[] = [];
  client.on('error', ({ message }) => errors.push(message));
  await standStill(); // a client that nobody has connected yet is no silent one either
  await client.connect();
  const answer = client.query('SELECT 1 AS one');
  await settle(); // it is on its way
  await standStill();
  expect((await answer).rows).toEqual([{ one: 1 }]);
  await until(() => errors.length > 0, { what: 'the real silence to be noticed' });
  expect(errors[0]).toBe('the database was silent for 200 ms');
});
