import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { StreamEvent } from '@rowcast/client';
import type { Frame } from '@rowcast/client/protocol';
import type pg from 'pg';
import { WebSocket } from 'ws';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { metricOf } from '../support/metrics.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

const publish = (key: string, rows: number) =>
  writer.query(`SELECT rowcast.publish('message:' || $1::text, 'log', '{}') FROM generate_series(1, $2)`, [key, rows]);

/** A WebSocket that has subscribed to `message:<key>`, and its frames of events. */
async function subscribed(key: string, since: string, times?: boolean) {
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/v1/ws`);
  const events: Extract<Frame, { type: 'events' }>[] = [];
  let ready = false;
  socket.on('message', (data: Buffer) => {
    const frame = JSON.parse(data.toString()) as Frame;
    if (frame.type === 'events') events.push(frame);
    if (frame.type === 'connected') {
      socket.send(JSON.stringify({ type: 'subscribe', id: 2, channel: `message:${key}`, since }));
    }
    ready ||= frame.type === 'subscribed';
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connect', id: 1, protocol: 1, times }));
  await until(() => ready, { what: 'the subscription' });
  const count = (rows: number) =>
    until(() => events.reduce((sum, frame) => sum + frame.events.length, 0) >= rows, { what: `${rows} events` });
  return { socket, events, count };
}

test('a client that asks gets the times of new events, and no other client sees them', async () => {
  await publish('times', 3);
  const asks = await subscribed('times', 'start', true);
  const other = await subscribed('times', 'start');
  await asks.count(3);
  expect(asks.events[0]).not.toHaveProperty('times'); // a replay: how old it is says nothing about the gateway
  const before = Date.now();
  await publish('times', 1);
  await asks.count(4);
  await other.count(4);
  const { written, read, sent } = asks.events.at(-1)?.times ?? {};
  expect(written).toBe(Date.parse(String(asks.events.at(-1)?.events[0]?.created_at)));
  expect(sent).toBeGreaterThanOrEqual(read ?? Number.NaN);
  expect(read).toBeGreaterThanOrEqual(before - 1);
  expect(sent).toBeLessThanOrEqual(Date.now() + 1);
  expect(other.events.some((frame) => 'times' in frame)).toBe(false);
  asks.socket.close();
  other.socket.close();
});

test('the metrics count connections by transport, events sent and how long these took, and show slow readers', async () => {
  await publish('metrics', 2);
  const { socket, count } = await subscribed('metrics', 'start');
  const stream = await fetch(`${gateway.url}/v1/sse?channel=message:metrics&since=start`);
  const text = async () => (await fetch(`${gateway.url}/metrics`)).text();
  await until(async () => /^rowcast_connections\{transport="sse"\} 1$/m.test(await text()), { what: 'the stream' });
  await until(async () => /^rowcast_connections\{transport="websocket"\} 1$/m.test(await text()), { what: 'a socket' });
  const sent = await metricOf(gateway.url, 'rowcast_events_sent_total');
  const timed = await metricOf(gateway.url, 'rowcast_delivery_seconds_count');
  await publish('metrics', 5);
  await count(7);
  await until(async () => (await metricOf(gateway.url, 'rowcast_events_sent_total')) === sent + 10, { what: 'both' });
  expect(await metricOf(gateway.url, 'rowcast_delivery_seconds_count')).toBeGreaterThan(timed);
  expect(await metricOf(gateway.url, 'rowcast_tail_lag_seconds')).toBeLessThan(2);

  expect(await metricOf(gateway.url, 'rowcast_stalled_subscriptions')).toBe(0);
  socket.pause();
  const large = `SELECT rowcast.publish('message:metrics', 'log', to_jsonb(repeat('x', 100000))) FROM generate_series(1, 200)`;
  await writer.query(large);
  await until(async () => (await metricOf(gateway.url, 'rowcast_stalled_subscriptions')) >= 1, {
    what: 'a slow reader',
  });
  socket.terminate();
  await stream.body?.cancel();
  await until(async () => (await metricOf(gateway.url, 'rowcast_connections')) === 0, { what: 'no connection' });
});

test.each(['websocket', 'sse'] as const)('the client passes the times on, over %s', async (transport) => {
  const client = testClient({ url: gateway.url, transports: [transport], times: true });
  const seen: StreamEvent[] = [];
  const subscription = client.subscribe(`message:${transport}`, { onEvent: (event) => seen.push(event) });
  await until(() => subscription.state === 'live', { what: 'the subscription' });
  await publish(transport, 1);
  await until(() => seen.length === 1, { what: 'the event' });
  expect(seen[0]?.times?.written).toBe(Date.parse(String(seen[0]?.row.created_at)));
  client.close();
});
