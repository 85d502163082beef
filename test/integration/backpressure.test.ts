import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { WebSocket } from 'ws';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

/** In bytes: with a header of four this divides the send buffer evenly, so that some frame fills it to the last byte. */
const FRAME = 1_020;
const ROWS = 9_999;

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES, { pageRows: 1 });
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

test('I6 I9: a subscriber that stops reading stands still, and gets the rest when it reads again', async () => {
  const event = JSON.stringify({ type: 'events', channel: 'message:slow', from: 1000, events: [] }).length;
  const row = await writer.query<{ size: number }>(
    `SELECT octet_length(row_to_json(r)::text) AS size FROM (
       SELECT 'slow' AS key, 'log' AS event_type, '""'::jsonb AS data, '2026-01-01 00:00:00.123456+00'::timestamptz AS created_at) r`,
  );
  const padding = FRAME - event - (row.rows[0]?.size ?? 0);
  // Somebody who is there from the start keeps the channel, and with it the rows, in memory: what the gateway sends to
  // the next one is limited by the socket alone.
  const first = testClient({ url: gateway.url });
  const follower = follow(first, 'message:slow');
  await follower.live();
  await writer.query(`SET timezone = 'UTC'`);
  for (let rows = 0; rows < ROWS; rows += 303) {
    await writer.query(
      `INSERT INTO rowcast.messages (key, event_type, data, created_at)
         SELECT 'slow', 'log', to_jsonb(repeat('x', ${padding})), '2026-01-01 00:00:00.123456+00' FROM generate_series(1, 303)`,
    );
  }
  await follower.count(ROWS);
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/v1/ws`);
  let seen = 0;
  const sizes = new Set<number>();
  socket.on('message', (data: Buffer) => {
    const frame = JSON.parse(data.toString()) as { type: string; from: number };
    if (frame.type !== 'events') return;
    expect(frame.from).toBe(seen + 1);
    seen += 1;
    if (frame.from >= 1000) sizes.add(data.length);
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connect', id: 1, protocol: 1 }));
  await once(socket, 'message');
  socket.send(JSON.stringify({ type: 'subscribe', id: 2, channel: 'message:slow', since: 'start' }));
  for (let stop = 1; stop <= 3; stop++) {
    await until(() => seen >= stop * 300, { what: `event ${stop * 300} (there are ${seen})` });
    socket.pause();
    // Long enough for the gateway to fill every buffer on the way: it stops by itself, which cannot be seen from here.
    for (let turn = 0; turn < 20; turn++) await writer.query('SELECT pg_sleep(0.01)');
    socket.resume();
  }
  await until(() => seen === ROWS, { deadlineMs: 20_000, what: `all events (there are ${seen})` });
  expect([...sizes]).toEqual([FRAME]);
  socket.terminate();
}, 60_000);

test('I6: taking subscriptions back does not open the way for more of them', async () => {
  // One frame is handled in each turn of the event loop, and opening a channel takes the database several.
  const strict = await startTestGateway(database.url, {
    ROWCAST_MAX_SUBSCRIPTIONS: '1',
    ROWCAST_FRAME_RATE: '1000000',
  });
  const socket = new WebSocket(`${strict.url.replace('http', 'ws')}/v1/ws`);
  const codes = new Map<string, number>();
  socket.on('message', (data: Buffer) => {
    const { type, code } = JSON.parse(data.toString()) as { type: string; code?: string };
    const name = code ?? type;
    codes.set(name, (codes.get(name) ?? 0) + 1);
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connect', id: 1, protocol: 1 }));
  await once(socket, 'message');
  for (let pair = 0; pair < 2_000; pair++) {
    socket.send(JSON.stringify({ type: 'subscribe', id: 2 * pair, channel: `message:many${pair}` }));
    socket.send(JSON.stringify({ type: 'unsubscribe', id: 2 * pair + 1, channel: `message:many${pair}` }));
  }
  socket.send(JSON.stringify({ type: 'ping', id: 9_999 }));
  await until(() => codes.has('pong'), { what: 'the last answer' });
  expect(codes.get('too_many_subscriptions')).toBeGreaterThan(0);
  socket.terminate();
  await strict.stop();
});
