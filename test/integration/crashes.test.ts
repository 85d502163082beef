import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { freePort } from '../../server/ground/free-port.js';
import { migrate } from '../../server/postgres/migrate.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Follower, follow, seqs } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { killAll, startGatewayProcess } from '../support/process.js';
import { startEmbedded } from '../support/server.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution } from '../support/writer.js';

let database: TestDatabase;
let writer: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  killAll();
  await writer.end();
  await database.drop();
});

/** Writes a row every few milliseconds until told to stop, and says how many there are. */
function writeSteadily(by: pg.Client, execution: string): () => Promise<number> {
  let stopped = false;
  let written = 0;
  const running = (async () => {
    while (!stopped) {
      await log(by, execution);
      written += 1;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  return async () => {
    stopped = true;
    await running;
    return written;
  };
}

test('I1 I2 I3: kill -9 of the gateway: clients resume by themselves, nothing lost, nothing twice', async () => {
  const execution = await newExecution(writer);
  const port = `${await freePort()}`;
  let gateway = await startGatewayProcess(database.url, { ROWCAST_PORT: port });
  const clients = [1, 2, 3].map(() => testClient({ url: `http://127.0.0.1:${port}` }));
  const followers = clients.map((client) => follow(client, `execution:${execution}`));
  await Promise.all(followers.map(({ live }) => live()));
  const finish = writeSteadily(writer, execution);
  for (let crash = 0; crash < 3; crash++) {
    const seen = followers[0]?.events.length ?? 0;
    await until(() => (followers[0]?.events.length ?? 0) > seen + 50, { what: 'events to flow' });
    await gateway.kill('SIGKILL');
    gateway = await startGatewayProcess(database.url, { ROWCAST_PORT: port });
  }
  const written = await finish();
  for (const { events, count, resets } of followers) {
    await count(written);
    expect(events.map(({ seq }) => seq)).toEqual(seqs(1, written));
    expect(resets).toEqual([]);
  }
  for (const client of clients) client.close();
  await gateway.stop();
}, 60_000);

test('I2 I9: sessions of the gateway are terminated, one after the other, while rows are written', async () => {
  const execution = await newExecution(writer);
  const gateway = await startTestGateway(database.url, { ROWCAST_LOG_LEVEL: 'silent' });
  const client = testClient({ url: gateway.url });
  const follower = follow(client, `execution:${execution}`);
  await follower.live();
  const admin = await connectWriter(database.url);
  const finish = writeSteadily(writer, execution);
  for (const name of ['tail', 'listener', 'pages', 'gate', 'tail', 'listener']) {
    const seen = follower.events.length;
    await until(() => follower.events.length > seen + 20, { what: `events to flow before ${name} is ended` });
    await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [
      `rowcast ${name}`,
    ]);
  }
  const written = await finish();
  await follower.count(written);
  expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, written));
  client.close();
  await admin.end();
  await gateway.stop();
}, 60_000);

test('I1 I2 I3: PostgreSQL restarts under the gateway: readyz says so, and all goes on', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-restart-'));
  let cluster = await startEmbedded({ dataDir });
  await migrate(cluster.url, { with: ['executions'] });
  const gateway = await startTestGateway(cluster.url, { ROWCAST_LOG_LEVEL: 'silent' }, { safetyInterval: 200 });
  const client = testClient({ url: gateway.url });
  const ready = async () => (await fetch(`${gateway.url}/readyz`)).status;
  const followers: Follower[] = [];
  const publish = async (channel: string) => {
    const by = await connectWriter(cluster.url);
    await by.query('SELECT rowcast.publish($1, $2)', [channel, 'note']);
    await by.end();
  };
  followers.push(follow(client, 'message:a'));
  await publish('message:a');
  await followers[0]?.count(1);
  for (const crash of [false, true]) {
    if (crash) cluster.kill('SIGQUIT');
    await (crash ? cluster.exited : cluster.stop());
    await until(async () => (await ready()) === 503, { what: 'readyz to say that it is not' });
    const asked = follow(client, `message:${crash}`); // asked for while the database is away
    cluster = await startEmbedded({ dataDir });
    await publish('message:a');
    await publish(`message:${crash}`);
    await followers[0]?.count(crash ? 3 : 2);
    await asked.count(1);
    await until(async () => (await ready()) === 200, { what: 'readyz to say that it is' });
  }
  expect(followers[0]?.events.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  client.close();
  await gateway.stop();
  await cluster.stop();
  await rm(dataDir, { recursive: true });
}, 60_000);
