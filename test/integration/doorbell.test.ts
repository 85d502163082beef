import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { killAll, startGatewayProcess } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter, processId } from '../support/writer.js';

// Far longer than any test waits: what arrives was rung for or read on the interval, not found by the safety read.
const NO_SAFETY = { safetyInterval: 600_000 };
// So low that a gateway also wakes by the rings that another passes on while the machine is busy.
const EASILY_WOKEN = { ROWCAST_WAKE_RATE: '40' };

describe.each(clusters())('the doorbell on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let gateway: Gateway;
  let writer: pg.Client;
  let straggler: pg.Client;
  let ear: pg.Client;
  let rings = 0;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    gateway = await startTestGateway(database.url, EASILY_WOKEN, NO_SAFETY);
    writer = await connectWriter(database.url);
    straggler = await connectWriter(database.url);
    ear = await connectWriter(database.url);
    const writers = [processId(writer), processId(straggler)];
    ear.on('notification', (notification) => {
      if (writers.includes(notification.processId)) rings += 1; // the gateway also rings, for other gateways
    });
    await ear.query('LISTEN rowcast');
  });
  afterAll(async () => {
    killAll();
    await Promise.all([writer, straggler, ear].map((client) => client.end()));
    await gateway.stop();
    await database.drop();
  });

  const insert = (by: pg.Client, key: string) =>
    by.query(`INSERT INTO rowcast.messages (key, event_type) VALUES ($1, 'log')`, [key]);

  /** Rings of writers so far. What was sent before a query of the listener is delivered with its answer. */
  async function heard(): Promise<number> {
    await ear.query('SELECT');
    return rings;
  }

  async function gateIsHeld(): Promise<boolean> {
    const { rows } = await ear.query(
      `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 1919907683 AND objid = 1
        AND mode = 'ExclusiveLock' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    );
    return rows.length > 0;
  }

  async function gateSessions(): Promise<number> {
    const { rows } = await ear.query(
      `SELECT 1 FROM pg_stat_activity WHERE application_name = 'rowcast gate' AND datname = current_database()`,
    );
    return rows.length;
  }

  /** Inserts as fast as it can until the gateway is awake. Returns the number of rows. */
  async function wake(key: string): Promise<number> {
    let rows = 0;
    await until(
      async () => {
        for (let burst = 0; burst < 50; burst++) await insert(writer, key);
        rows += 50;
        return gateIsHeld();
      },
      { what: 'the gateway to wake' },
    );
    return rows;
  }

  test('I9: asleep, each insert rings and arrives; awake, inserts do not ring and arrive', async () => {
    const client = testClient({ url: gateway.url });
    const follower = follow(client, 'message:rate');
    await follower.live();
    rings = 0;
    for (let row = 1; row <= 5; row++) {
      await insert(writer, 'rate');
      await follower.count(row, 1_000);
    }
    expect(await heard()).toBe(5);
    let rows = 5 + (await wake('rate'));
    const before = await heard();
    for (let row = 0; row < 50; row++) await insert(writer, 'rate');
    rows += 50;
    await follower.count(rows, 2_000);
    expect(await gateIsHeld()).toBe(true);
    expect(await heard()).toBe(before);
    expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, rows));
    await until(async () => !(await gateIsHeld()), { what: 'the gateway to fall asleep' });
    await insert(writer, 'rate');
    await follower.count(rows + 1, 1_000);
    client.close();
  });

  test('I9: a row that was not rung for, and commits after the gateway let go of the gate, still arrives', async () => {
    const client = testClient({ url: gateway.url });
    const follower = follow(client, 'message:straggler');
    await follower.live();
    await wake('noise');
    await straggler.query('BEGIN');
    await insert(straggler, 'straggler');
    await until(async () => !(await gateIsHeld()), { what: 'the gateway to let go' });
    rings = 0;
    await straggler.query('COMMIT');
    await follower.count(1, 1_000);
    expect(await heard()).toBe(0);
    client.close();
  });

  test('I9: what writers leave to the gateway that is awake, it passes on to those that sleep', async () => {
    // It never wakes by itself, and reads only when it is rung.
    const sleeper = await startTestGateway(database.url, { ROWCAST_WAKE_RATE: '1000000' }, NO_SAFETY);
    const client = testClient({ url: sleeper.url });
    const follower = follow(client, 'message:passed on');
    await follower.live();
    await wake('noise');
    for (let row = 1; row <= 20; row++) {
      await insert(writer, 'passed on');
      await follower.count(row, 1_000);
    }
    await straggler.query('BEGIN');
    await insert(straggler, 'passed on');
    await until(async () => !(await gateIsHeld()), { what: 'the gateway to let go' });
    await straggler.query('COMMIT');
    await follower.count(21, 1_000);
    client.close();
    await sleeper.stop();
  });

  test('I9: when the gateway that is awake dies, another that is busy takes the gate', async () => {
    const first = await startGatewayProcess(database.url, EASILY_WOKEN, NO_SAFETY);
    const client = testClient({ url: gateway.url });
    const follower = follow(client, 'message:inherited');
    await follower.live();
    let rows = 0;
    const busy = async (bursts: number) => {
      for (let burst = 0; burst < bursts * 50; burst++) await insert(writer, 'inherited');
      rows += bursts * 50;
    };
    const bothWantTheGate = async () => {
      await busy(1);
      return (await gateSessions()) >= 2;
    };
    await until(bothWantTheGate, { what: 'both gateways to hold or queue for the gate' });
    await first.kill('SIGKILL');
    await busy(2);
    await until(gateIsHeld, { what: 'the other gateway to hold the gate' });
    await follower.count(rows, 2_000);
    client.close();
  });

  test('I8: below the wake rate the gate is left alone, and every insert rings', async () => {
    const second = await createDatabase(cluster);
    const always = await startTestGateway(second.url, { ROWCAST_WAKE_RATE: '1000000' }, NO_SAFETY);
    const client = testClient({ url: always.url });
    const follower = follow(client, 'message:always');
    await follower.live();
    const by = await connectWriter(second.url);
    for (let row = 0; row < 500; row++) await insert(by, 'always');
    await follower.count(500);
    const { rows } = await by.query(
      `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    );
    expect(rows).toEqual([]);
    client.close();
    await by.end();
    await always.stop();
    await second.drop();
  });
});
