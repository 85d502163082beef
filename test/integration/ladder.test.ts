import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type pg from 'pg';
import { WebSocket } from 'ws';
import { clientOver } from '../../client/client.js';
import { Backoff } from '../../client/ground/backoff.js';
import { systemClock } from '../../client/ground/clock.js';
import type { Client, SessionState, Transport, WebSocketConstructor } from '../../client/index.js';
import { Session } from '../../client/session/session.js';
import { pollRung } from '../../client/transport/poll.js';
import { sseRung } from '../../client/transport/sse.js';
import { websocketRung } from '../../client/transport/websocket.js';
import type { Gateway } from '../../server/gateway.js';
import { packageRoot } from '../../server/ground/package-root.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { FakeEnvironment } from '../support/fakes.js';
import { type Follower, follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { type HttpProxy, startHttpProxy } from '../support/proxy-http.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const run = promisify(execFile);

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
let proxy: HttpProxy;
const clients: Client[] = [];

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
  writer = await connectWriter(database.url);
});
beforeEach(async () => {
  proxy = await startHttpProxy(gateway.url);
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await proxy.close();
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await database.drop();
});

const channels = (name: string, count: number) =>
  Array.from({ length: count }, (_, index) => `message:${name}-${index}`);

/** One more event in each of the channels. */
async function publish(names: readonly string[], rows = 1): Promise<void> {
  await writer.query(
    `SELECT rowcast.publish(channel, 'note', '{}') FROM unnest($1::text[]) channel, generate_series(1, $2::int)`,
    [names, rows],
  );
}

/** Writes a row into each channel again and again, until the returned function is called; that gives the rows of each. */
function load(names: readonly string[]): () => Promise<number> {
  let on = true;
  let rows = 0;
  const done = (async () => {
    while (on) {
      await publish(names);
      rows += 1;
    }
  })();
  return async () => {
    on = false;
    await done;
    return rows;
  };
}

/** I1, I2, I3: each follower has the events `1` to `count`, each once and in order, and no reset. */
async function expectAll(followers: readonly Follower[], count: number): Promise<void> {
  for (const follower of followers) {
    await follower.count(count);
    expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, count));
    expect(follower.resets).toEqual([]);
  }
}

/** A client whose environment the test plays, over the rungs of these names. */
function clientBy(
  names: readonly Transport[],
  url: string,
  {
    environment = new FakeEnvironment(),
    onState = () => {},
  }: { environment?: FakeEnvironment; onState?: (state: SessionState) => void } = {},
): Client {
  const rungs = [
    websocketRung(url, WebSocket as unknown as WebSocketConstructor),
    sseRung(url, fetch),
    pollRung(url, fetch),
  ];
  const client = clientOver(
    (events) =>
      new Session({
        rungs: rungs.filter(({ name }) => names.some((wanted) => wanted === name)),
        token: async () => undefined,
        clock: systemClock,
        backoff: new Backoff({ base: 50, cap: 500 }),
        environment,
        events,
      }),
    onState,
  );
  clients.push(client);
  return client;
}

test.each<Transport>(['websocket', 'sse', 'poll'])(
  'I1 I2 I3 I4: %s alone carries 20 channels that come and go under load',
  async (transport) => {
    const names = channels(`alone-${transport}`, 20);
    await publish(names, 500); // history
    const stop = load(names);
    const client = clientBy([transport], gateway.url);
    const followers = names.slice(0, 10).map((name) => follow(client, name));
    await followers[0]?.count(100);
    expect(client.transport).toBe(transport);
    for (const name of names.slice(10)) {
      const passing = client.subscribe(name, { since: 'start', onEvent: () => {} });
      await until(() => passing.state === 'live' || passing.position?.endsWith('.500'), { what: `${name} to be read` });
      passing.close();
      followers.push(follow(client, name));
    }
    await followers.at(-1)?.count(510);
    const late = client.subscribe('message:nobody-writes', { onEvent: () => {} });
    await until(() => late.state === 'live', { what: 'a channel without events' });
    await expectAll(followers, 500 + (await stop()));
  },
);

test.each<[HttpProxy['upgrades'], number, Transport, number]>([
  [403, 0, 'sse', 3_000],
  ['hang', Number.POSITIVE_INFINITY, 'poll', 10_000],
  [403, 2_100, 'poll', 10_000],
])(
  'upgrades: %s, answers held back until there are %s bytes: the first event by %s within %i ms',
  async (upgrades, buffer, transport, limit) => {
    Object.assign(proxy, { upgrades, buffer });
    const name = `message:first-${upgrades}-${buffer}`;
    await publish([name]);
    const began = performance.now();
    const client = testClient({ url: proxy.url });
    const follower = follow(client, name);
    await follower.count(1, limit);
    console.log(
      `upgrades ${upgrades}, buffer ${buffer}: first event after ${Math.round(performance.now() - began)} ms by ${client.transport}`,
    );
    await until(() => client.transport === transport, { what: transport });
    await publish([name]);
    await follower.count(2, 5_000);
    expect(follower.events.map(({ seq }) => seq)).toEqual([1, 2]);
  },
);

test.each(['websocket', 'sse', 'poll'])(
  'I7: a program whose client was closed on %s ends by itself',
  async (transport) => {
    await publish(['message:ends']);
    const program = `
    import { createClient } from './client/node.js';
    const client = createClient({ url: '${gateway.url}', transports: ['${transport}'] });
    client.subscribe('message:ends', {
      since: 'start',
      onEvent() {
        const began = performance.now();
        process.once('exit', () => console.log(performance.now() - began));
        setImmediate(() => client.close());
      },
    });`;
    const { stdout } = await run(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      cwd: packageRoot(),
      timeout: 20_000,
    });
    const took = stdout.trim().split('\n').at(-1);
    expect(Number(took)).toBeLessThan(1_500);
  },
);

test('the rung that worked is remembered: the next client begins there', async () => {
  proxy.upgrades = 403;
  await publish(['message:remembered']);
  await follow(testClient({ url: proxy.url }), 'message:remembered').count(1);
  proxy.upgrades = 'pass';
  const asked = proxy.asked.length;
  await follow(testClient({ url: proxy.url }), 'message:remembered').count(1);
  expect([...new Set(proxy.asked.slice(asked))]).toEqual(['/v1/sse']);
});

test('I1 I2 I3: down to the last rung and up again under load', async () => {
  const names = channels('moves', 5);
  const page = new FakeEnvironment();
  const seen: (string | null)[] = [];
  const client: Client = clientBy(['websocket', 'sse', 'poll'], proxy.url, {
    environment: page,
    onState: (state) => {
      if (state === 'connected') seen.push(client.transport);
    },
  });
  const stop = load(names);
  const followers = names.map((name) => follow(client, name));
  const reads = async (transport: string) => {
    await until(() => client.transport === transport, { deadlineMs: 20_000, what: transport });
    const { length } = followers[0]?.events ?? [];
    await followers[0]?.count((length ?? 0) + 20);
  };
  await reads('websocket');
  proxy.upgrades = 403;
  proxy.cut();
  await reads('sse');
  proxy.forbidden = /sse/;
  proxy.cut();
  await reads('poll');
  proxy.forbidden = null;
  page.hint();
  await reads('sse');
  proxy.upgrades = 'pass';
  page.hint();
  await reads('websocket');
  await expectAll(followers, await stop());
  console.log(`${followers[0]?.events.length} events in each of ${names.length} channels, by ${seen.join(' ')}`);
  expect([...new Set(seen)]).toEqual(['websocket', 'sse', 'poll']);
});
