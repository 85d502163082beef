import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Client, RowcastError, StreamEvent } from '../../client/node.js';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
let other: pg.Client;
let client: Client;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url);
  writer = await connectWriter(database.url);
  other = await connectWriter(database.url);
});
beforeEach(() => {
  client = testClient({ url: gateway.url });
});
afterAll(async () => {
  await writer.end();
  await other.end();
  await gateway.stop();
  await database.drop();
});

const message = (channel: string, data: unknown = null, by = writer) =>
  by.query('SELECT rowcast.publish($1, $2, $3)', [`message:${channel}`, 'note', JSON.stringify(data)]);

test('I9: a transaction that stays open delays no other, and its own events come when it commits', async () => {
  const [slow, quick] = [await newExecution(writer), await newExecution(writer)];
  const [slowly, quickly] = [follow(client, `execution:${slow}`), follow(client, `execution:${quick}`)];
  await Promise.all([slowly.live(), quickly.live()]);
  await writer.query('BEGIN');
  await log(writer, slow, 3);
  for (let row = 1; row <= 20; row++) {
    await log(other, quick);
    await quickly.count(row, 1_000);
  }
  expect(slowly.events).toEqual([]);
  await writer.query('COMMIT');
  await slowly.count(3, 1_000);
  expect(slowly.events.map(({ seq }) => seq)).toEqual([1, 2, 3]);
});

test('since: start, now, a seq, a position and the newest each begin where they say', async () => {
  for (let row = 1; row <= 5; row++) await message('since', { row });
  const first = follow(client, 'message:since', 'start');
  await first.count(5);
  client.close();
  const positions = first.events.map(({ position }) => position);
  const begin = async (since: string | number) => {
    client = testClient({ url: gateway.url });
    const follower = follow(client, 'message:since', since);
    await follower.live();
    const seen = follower.events.map(({ seq }) => seq);
    client.close();
    return seen;
  };
  expect(await begin('start')).toEqual([1, 2, 3, 4, 5]);
  expect(await begin('now')).toEqual([]);
  expect(await begin(3)).toEqual([4, 5]);
  expect([await begin(-2), await begin(-9)]).toEqual([[4, 5], first.events.map(({ seq }) => seq)]);
  expect(await begin(positions[1] ?? '')).toEqual([3, 4, 5]);
});

test('I2: a position that cannot be served gets a reset, and events go on after it', async () => {
  for (let row = 1; row <= 4; row++) await message('reset', { row });
  const { rows } = await writer.query<{ epoch: string }>(`SELECT epoch FROM rowcast.streams WHERE name = 'message'`);
  const epoch = rows[0]?.epoch;
  const begin = async (since: string) => {
    client = testClient({ url: gateway.url });
    const follower = follow(client, 'message:reset', since);
    await follower.live();
    client.close();
    return { resets: follower.resets, seen: follower.events.map(({ seq }) => seq) };
  };
  expect(await begin(`${epoch}.99`)).toEqual({ resets: [`ahead ${epoch}.4`], seen: [] });
  expect(await begin('gone.2')).toEqual({ resets: [`epoch ${epoch}.4`], seen: [] });
  await writer.query(`DELETE FROM rowcast.messages WHERE key = 'reset' AND seq <= 2`);
  expect(await begin(`${epoch}.1`)).toEqual({ resets: [`pruned ${epoch}.2`], seen: [3, 4] });
  expect(await begin('start')).toEqual({ resets: [], seen: [3, 4] });
});

test('I2: a new epoch reaches a subscriber that is connected', async () => {
  await message('epoch');
  const follower = follow(client, 'message:epoch');
  await follower.count(1);
  const { rows } = await writer.query<{ epoch: string }>(`SELECT rowcast.new_epoch('message') AS epoch`);
  await until(() => follower.resets.length > 0, { what: 'the reset' });
  expect(follower.resets).toEqual([`epoch ${rows[0]?.epoch}.1`]);
  await message('epoch');
  await follower.count(2);
  expect(follower.events[1]?.position).toBe(`${rows[0]?.epoch}.2`);
});

test('a stream that is attached while the gateway runs is there at once, and a new column soon', async () => {
  await writer.query(`CREATE TABLE notes (topic text NOT NULL, body text); SELECT rowcast.attach('notes', 'topic')`);
  const follower = follow(client, 'notes:a');
  await follower.live();
  await writer.query(`INSERT INTO notes VALUES ('a', 'one')`);
  await follower.count(1);
  await writer.query('ALTER TABLE notes DROP COLUMN body');
  await writer.query(`INSERT INTO notes VALUES ('a')`);
  await follower.count(2);
  expect(follower.events.map(({ row }) => row)).toEqual([{ topic: 'a', body: 'one' }, { topic: 'a' }]);
});

test('a row of 1 MB arrives, and so do JSON, text and numbers as the database prints them', async () => {
  const follower = follow(client, 'message:large');
  await follower.live();
  const data = { text: 'ü"\\\n\u{1F680}'.repeat(150_000), number: 1.5, list: [null, true] };
  await message('large', data);
  await follower.count(1);
  expect(follower.events[0]?.row).toMatchObject({ key: 'large', event_type: 'note', data });
});

test('the async iterator gives every event in order, however slowly it is read', async () => {
  for (let batch = 0; batch < 6; batch++) {
    await writer.query(
      `INSERT INTO rowcast.messages (key, event_type) SELECT 'iterated', 'note' FROM generate_series(1, 1000)`,
    );
  }
  const states: string[] = [];
  const subscription = client.subscribe('message:iterated', { since: 'start', onState: (state) => states.push(state) });
  const seen: number[] = [];
  for await (const { seq } of subscription) {
    seen.push(seq);
    if (seq === 1) await until(() => states.includes('waiting'), { what: 'the stream to be held back' });
    if (seq === 6000) break;
  }
  expect(seen).toEqual(seqs(1, 6000));
  expect(subscription.state).toBe('closed');
});

test('listeners per type hear their events; a channel can be followed twice, and again after it was closed', async () => {
  const execution = await newExecution(writer);
  const started: StreamEvent[] = [];
  const subscription = client.subscribe(`execution:${execution}`, { since: 'start', onEvent: () => {} });
  subscription.on('execution-started', (event) => started.push(event));
  const second = follow(client, `execution:${execution}`);
  await writer.query(`UPDATE agent_executions SET status = 'running' WHERE execution_id = $1`, [execution]);
  await until(() => started.length > 0, { what: 'the listener to be called' });
  expect(started[0]?.row.message).toBe('execution is running');
  await second.count(1);
  subscription.close();
  second.subscription.close();
  const again = follow(client, `execution:${execution}`);
  await again.count(1);
});

test('I9: a stream that may not be read, and a table that was dropped, cost the others nothing', async () => {
  const apart = await createDatabase();
  const owner = await connectWriter(apart.url);
  const limited = await startTestGateway(apart.url, { ROWCAST_LOG_LEVEL: 'silent' });
  const of = testClient({ url: limited.url });
  const follower = follow(of, 'message:others');
  await follower.live();
  const others = () => owner.query(`SELECT rowcast.publish('message:others', 'x')`);
  await owner.query(`
    CREATE TABLE secrets (key int NOT NULL);
    SELECT rowcast.attach('secrets', 'key');
    REVOKE SELECT ON secrets FROM rowcast_gateway`);
  await owner.query('INSERT INTO secrets VALUES (1)');
  await others();
  await follower.count(1, 2_000);
  await owner.query('GRANT SELECT ON secrets TO rowcast_gateway');
  await owner.query('REVOKE SELECT ON secrets FROM rowcast_gateway');
  await owner.query('DROP TABLE secrets');
  await others();
  await follower.count(2, 2_000);
  // Not even the list of streams may be read for a while: all goes on when it may be again.
  await owner.query('REVOKE SELECT ON rowcast.catalog FROM rowcast_gateway');
  await others();
  await until(async () => !(await fetch(`${limited.url}/readyz`)).ok, { what: 'readyz to say that it is not' });
  await owner.query('GRANT SELECT ON rowcast.catalog TO rowcast_gateway');
  await follower.count(3, 3_000);
  of.close();
  await limited.stop();
  await owner.query(`SELECT rowcast.detach('secrets')`);
  await owner.end();
  await apart.drop();
});

test('an unknown channel closes its subscription with the code, and nothing else', async () => {
  const failed = (channel: string) =>
    new Promise<RowcastError | undefined>((resolve) => {
      client.subscribe(channel, { onEvent: () => {}, onState: (state, error) => state === 'closed' && resolve(error) });
    });
  expect((await failed('nix:1'))?.code).toBe('unknown_channel');
  expect((await failed('execution:00000000-0000-4000-8000-000000000000'))?.code).toBe('unknown_channel');
  expect((await failed('execution:1'))?.code).toBe('invalid_channel');
  expect((await failed('nonsense'))?.code).toBe('invalid_channel');
  await follow(client, 'message:fine').live();
});
