import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createClient, type PollingClient, type PollingOptions, type PollingStats } from '../../client/node.js';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { killAll, startGatewayProcess } from '../support/process.js';
import { startProxy } from '../support/proxy.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution } from '../support/writer.js';

/** Fast, so that the tests are. In milliseconds. */
const FAST = { interval: 40, running: 20, pending: 60 };

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
/** The bodies of the requests of a test. */
let bodies: string[];
const open = new Set<PollingClient>();

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
  writer = await connectWriter(database.url);
});
afterEach(() => {
  for (const client of open) client.close();
  open.clear();
});
afterAll(async () => {
  killAll();
  await writer.end();
  await gateway.stop();
  await database.drop();
});

function pollingClient(polling: PollingOptions = {}, url = gateway.url): PollingClient {
  bodies = [];
  const counted: typeof fetch = (input, init) => {
    bodies.push(String(init?.body));
    return fetch(input, init);
  };
  const client = createClient({ url, transports: ['poll'], fetch: counted, polling: { ...FAST, ...polling } });
  open.add(client);
  return client;
}

async function publish(channel: string, count: number, type = 'x'): Promise<void> {
  await writer.query(`SELECT rowcast.publish($1, $2, '{}') FROM generate_series(1, $3::int)`, [channel, type, count]);
}

async function setStatus(execution: string, status: string): Promise<void> {
  await writer.query('UPDATE agent_executions SET status = $2 WHERE execution_id = $1', [execution, status]);
}

test('I1, I2, I3: every event once and in order, of history and while writers write', async () => {
  const channel = 'message:written';
  await publish(channel, 5_000);
  const client = pollingClient();
  const follower = follow(client, channel);
  for (let batch = 0; batch < 20; batch += 1) {
    await publish(channel, 50);
    await follower.count(batch * 50);
  }
  await follower.count(6_000);
  expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, 6_000));
  expect(follower.resets).toEqual([]);
  expect(client.stats()).toMatchObject({ failures: 0, successRate: 1, breaker: 'closed', recovery: null });
});

test('what the gateway knows when it is asked is in its answer', async () => {
  const known = follow(testClient({ url: gateway.url, transports: ['websocket'] }), 'message:fresh');
  const client = pollingClient({ interval: 600_000 });
  const follower = follow(client, 'message:fresh');
  await follower.live();
  for (let event = 1; event <= 20; event += 1) {
    await publish('message:fresh', 1);
    await known.count(event);
    const { requests } = client.stats();
    client.refresh();
    await follower.count(event);
    expect(client.stats().requests).toBeLessThanOrEqual(requests + 1);
  }
});

test('50 channels are asked for in one request, and each goes on where it stands', async () => {
  const channels = Array.from({ length: 50 }, (_, index) => `message:many-${index}`);
  await writer.query(`SELECT rowcast.publish(c, 'x', '{}') FROM unnest($1::text[]) c`, [channels]);
  const client = pollingClient();
  const followers = channels.map((channel) => follow(client, channel));
  for (const follower of followers) await follower.count(1);
  expect(bodies.map((body) => body.split('"subscribe"').length - 1).slice(0, 2)).toEqual([0, 50]);
  await writer.query(`SELECT rowcast.publish(c, 'x', '{}') FROM unnest($1::text[]) c`, [channels]);
  for (const follower of followers) await follower.count(2);
  for (const { events } of followers) expect(events.map(({ seq }) => seq)).toEqual([1, 2]);
  expect(bodies.at(-1)?.match(/"since":"\w+\.\d+"/g)).toHaveLength(50);
});

test('the interval follows the execution, and a finished one is asked for no more until refresh', async () => {
  const execution = await newExecution(writer);
  const channel = `execution:${execution}`;
  const client = pollingClient();
  const intervals: (number | null)[] = [];
  const follower = follow(client, channel);
  const interval = (wanted: number | null) =>
    until(
      () => {
        const now = client.stats().interval;
        if (now !== intervals.at(-1)) intervals.push(now);
        return now === wanted;
      },
      { what: `the interval ${wanted}` },
    );
  await interval(FAST.pending);
  await setStatus(execution, 'running');
  await interval(FAST.running);
  await setStatus(execution, 'paused');
  await interval(FAST.pending);
  await setStatus(execution, 'running');
  await interval(FAST.running);
  await log(writer, execution, 3);
  await setStatus(execution, 'completed');
  await interval(null);
  expect(intervals.filter((value) => value !== null)).toEqual([60, 20, 60, 20]);
  await follower.count(7);

  // Others see what is written now; this client does not ask.
  const asked = bodies.length;
  await log(writer, execution, 1);
  await follow(testClient({ url: gateway.url, transports: ['websocket'] }), channel).count(8);
  const other = follow(client, 'message:other');
  await other.live();
  expect(bodies.slice(asked).filter((body) => body.includes(execution))).toEqual([]);
  expect(follower.events).toHaveLength(7);
  client.refresh();
  await follower.count(8);
  expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, 8));
});

test('I1, I2, I3: a gateway is killed and comes back: the breaker opens, tries and closes, and the stats tell', async () => {
  const first = await startGatewayProcess(database.url);
  const proxy = await startProxy(Number(new URL(first.url).port));
  const seen: PollingStats[] = [];
  const warned: string[] = [];
  const client = pollingClient(
    {
      breakerFailures: 2,
      breakerCooldown: 300,
      thresholds: { recovery: 500 },
      onStats: (stats) => seen.push(stats),
      onWarning: ({ kind }) => warned.push(kind),
    },
    proxy.via(first.url),
  );
  const follower = follow(client, 'message:killed');
  await publish('message:killed', 10);
  await follower.count(10);

  await first.kill('SIGKILL');
  await until(() => client.stats().breaker === 'open', { what: 'the breaker to open' });
  expect([client.state, follower.subscription.state]).toEqual(['waiting', 'waiting']);
  await publish('message:killed', 10);
  await until(() => warned.includes('recovery'), { what: 'a warning' });

  const second = await startGatewayProcess(database.url);
  proxy.retarget(Number(new URL(second.url).port));
  await follower.count(20);
  expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, 20));
  const breakers = seen.map(({ breaker }) => breaker).filter((state, index, all) => state !== all[index - 1]);
  expect(breakers.slice(0, 2)).toEqual(['closed', 'open']);
  expect(breakers.slice(-2)).toEqual(['half-open', 'closed']);
  const stats = client.stats();
  expect(stats.failures).toBeGreaterThanOrEqual(2);
  expect(stats.successRate).toBeLessThan(1);
  expect(stats.recovery).toBeGreaterThan(500);
  expect([stats.meanResponse > 0, stats.p95Response >= stats.meanResponse]).toEqual([true, true]);
  client.close();
  await proxy.close();
  await second.stop();
});

test('an answer that does not come is not waited for: half-open connections', async () => {
  const proxy = await startProxy(Number(new URL(gateway.url).port));
  const client = pollingClient({ timeout: 300 }, proxy.via(gateway.url));
  const follower = follow(client, 'message:silent');
  await follower.live();
  proxy.swallow('down');
  await until(() => client.stats().failures > 0, { what: 'a failure' });
  await publish('message:silent', 1);
  proxy.heal();
  await follower.count(1);
  expect(client.stats().recovery).toBeGreaterThan(0);
  client.close();
  await proxy.close();
});

test('I7: a request that is out is ended by close, and none follows', async () => {
  const sockets = new Set<Socket>();
  const asking = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {})); // a request that is given up may end with a reset
    socket.once('data', () => asking.add(socket)).on('close', () => asking.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = pollingClient({}, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  follow(client, 'message:left');
  await until(() => asking.size === 1, { what: 'a request' });
  client.close();
  await until(() => asking.size === 0, { what: 'the request to be ended' });
  expect(bodies).toHaveLength(1);
  for (const socket of sockets) socket.destroy(); // Node's fetch has opened another one for what might follow
  server.close();
});

test('a wrong token ends the client; pause, refresh and stats work before the module has come', async () => {
  const secured = await startTestGateway(database.url, {
    ...NO_RATES,
    ROWCAST_JWT_SECRET: '0123456789abcdef0123456789abcdef',
  });
  const refused = pollingClient({}, secured.url);
  const refusal = follow(refused, 'message:a');
  await until(() => refused.state === 'closed', { what: 'the refusal' });
  expect(refusal.subscription.state).toBe('closed');
  await secured.stop();

  const early = pollingClient();
  early.pause();
  const follower = follow(early, 'message:early');
  expect(early.stats()).toMatchObject({ paused: true, requests: 0 });
  await publish('message:early', 1);
  early.refresh();
  await follower.count(1);
  expect(early.stats()).toMatchObject({ paused: true, interval: null, requests: 2 });
  await publish('message:early', 1);
  early.resume();
  await follower.count(2);
  expect(() => createClient({ url: gateway.url, transports: ['poll'], polling: { interval: 0 } })).toThrow(RangeError);
});
