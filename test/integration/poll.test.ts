import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { seed } from '../property/seed.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { seqsOf } from '../support/event-stream.js';
import { fairNow } from '../support/fair-clock.js';
import { seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { metricOf } from '../support/metrics.js';
import { type PollAnswer, poll, type Wanted } from '../support/poll.js';
import { makeRandom } from '../support/random.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

/** In bytes: an answer of a few rows is full. */
const PAGE = 2_048;

let database: TestDatabase;
let gateway: Gateway;
let small: Gateway;
let writer: pg.Client;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url, NO_RATES);
  small = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_PAGE_BYTES: `${PAGE}`, ROWCAST_CACHE: 'public' });
  writer = await connectWriter(database.url);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  await writer.end();
  await gateway.stop();
  await small.stop();
  await database.drop();
});

const publish = (channel: string, count = 1) =>
  writer.query(`SELECT rowcast.publish($1, 'note', to_jsonb(i)) FROM generate_series(1, $2::int) i`, [channel, count]);

const figure = (name: string, { url } = gateway) => metricOf(url, `rowcast_${name}`);

/** A poll that waits, once the gateway has its subscriptions. */
async function waiting(
  wanted: Wanted,
  at = gateway,
  wait = 20,
): Promise<{ answer: Promise<PollAnswer>; gone: () => void }> {
  const before = await figure('subscriptions', at);
  const gone = new AbortController();
  const answer = poll(at.url, wanted, wait, { signal: gone.signal });
  answer.catch(() => {});
  await until(async () => (await figure('subscriptions', at)) === before + wanted.length, { what: 'the poll to wait' });
  return { answer, gone: () => gone.abort() };
}

test('what is there comes at once: of every channel that has something', async () => {
  await publish('message:a', 3);
  await publish('message:b', 2);
  const began = fairNow();
  const answer = await poll(gateway.url, [
    ['message:a', '1'],
    ['message:empty', 'start'],
    ['message:b', 'start'],
  ]);
  expect(fairNow() - began).toBeLessThan(5_000); // it would wait for 20 s
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
  expect(answer.frames.map(({ type, channel, from, events }) => [type, channel, from, events?.length]).sort()).toEqual([
    ['events', 'message:a', 2, 2],
    ['events', 'message:b', 1, 2],
  ]);
  const [epoch] = answer.positions['message:a']?.split('.') ?? [];
  expect(answer.positions).toEqual({
    'message:a': `${epoch}.3`,
    'message:empty': `${epoch}.0`,
    'message:b': `${epoch}.2`,
  });
});

test('I9: where there is nothing it waits for the first that comes', async () => {
  const { answer } = await waiting([
    ['message:w1', 'now'],
    ['message:w2', 'start'],
  ]);
  await publish('message:w2');
  const { frames, positions } = await answer;
  expect(frames).toMatchObject([{ type: 'events', channel: 'message:w2', from: 1 }]);
  expect(positions).toEqual({
    'message:w1': expect.stringMatching(/\.0$/),
    'message:w2': expect.stringMatching(/\.1$/),
  });
  expect(await figure('subscriptions')).toBe(0);
});

test('a wait that was in vain ends in time, with the positions and nothing that may be kept', async () => {
  const [began, fairly] = [performance.now(), fairNow()];
  const [none, one] = await Promise.all(
    [0, 1].map((wait) =>
      poll(gateway.url, [['message:vain', 'now']], wait).then((answer) => ({
        ...answer,
        took: performance.now() - began,
        tookFairly: fairNow() - fairly,
      })),
    ),
  );
  for (const answer of [none, one]) {
    expect([answer?.status, answer?.frames]).toEqual([200, []]);
    expect(answer?.positions).toEqual({ 'message:vain': expect.stringMatching(/^\w+\.0$/) });
    expect(answer?.headers.get('cache-control')).toBe('no-store');
    expect(answer?.headers.get('etag')).toBeNull();
  }
  expect(none?.tookFairly).toBeLessThan(900);
  expect(one?.took).toBeGreaterThan(950);
  expect(one?.tookFairly).toBeLessThan(4_000);
});

test('I1 I2 I3: plain polling, without a wait, misses nothing', async () => {
  const seen: number[] = [];
  let since = 'start';
  const writing = (async () => {
    for (let row = 0; row < 40; row += 1) await publish('message:plain');
  })();
  const read = async () => {
    const { frames, positions } = await poll(gateway.url, [['message:plain', since]], 0);
    seen.push(...seqsOf(frames, 'message:plain'));
    since = positions['message:plain'] ?? '';
    return seen.length >= 40;
  };
  await until(read, { what: 'all events' });
  await writing;
  expect(seen).toEqual(seqs(1, 40));
});

test('I1 I2 I3: the positions of one answer lead to the next, to the end', async () => {
  await publish('message:long', 150);
  await publish('message:short', 3);
  let wanted: Wanted = [
    ['message:long', 'start'],
    ['message:short', 'start'],
  ];
  const answers: PollAnswer[] = [];
  do {
    const answer = await poll(small.url, wanted, 0);
    expect(answer.text.length).toBeLessThan(3 * PAGE);
    answers.push(answer);
    wanted = Object.entries(answer.positions);
  } while (answers.at(-1)?.frames.length);
  expect(answers.length).toBeGreaterThan(5);
  const frames = answers.flatMap((answer) => answer.frames);
  expect(seqsOf(frames, 'message:long')).toEqual(seqs(1, 150));
  expect(seqsOf(frames, 'message:short')).toEqual(seqs(1, 3));
});

test('I2: a position that cannot be served is answered with a reset, and the next one leads on', async () => {
  await writer.query(`
    CREATE TABLE orders (shop int NOT NULL);
    SELECT rowcast.attach('orders', 'shop');
    INSERT INTO orders SELECT 1 FROM generate_series(1, 10)`);
  const { positions: old } = await poll(gateway.url, [['orders:1', 'start']]);
  const [epoch] = old['orders:1']?.split('.') ?? [];
  const reset = async (since: string, reason: string, position: unknown, at = gateway) => {
    const ask = async () => {
      const answer = await poll(at.url, [['orders:1', since]], 0);
      return answer.frames[0]?.type === 'reset' ? answer : null;
    };
    const answer = await until(ask, { what: `a reset: ${reason}` });
    expect(answer.frames[0]).toMatchObject({ type: 'reset', reason, position });
    expect(answer.headers.get('cache-control')).toMatch(/^(private|public), no-cache$/);
    expect(answer.headers.get('etag')).toBeNull();
    return answer;
  };
  await reset(`${epoch}.99`, 'ahead', `${epoch}.10`);
  await writer.query('DELETE FROM orders WHERE seq <= 4');
  // The other one still has them in memory, and may send them.
  const pruned = await reset(`${epoch}.1`, 'pruned', `${epoch}.4`, small);
  expect(seqsOf(pruned.frames, 'orders:1')).toEqual(seqs(5, 6));
  await writer.query('TRUNCATE orders');
  const renumbered = await reset(`${epoch}.10`, 'epoch', expect.stringMatching(/^\w+\.0$/));
  await writer.query('INSERT INTO orders VALUES (1)');
  const next = await poll(gateway.url, Object.entries(renumbered.positions));
  expect(seqsOf(next.frames, 'orders:1')).toEqual([1]);
});

test('a waiting poll is told of a new numbering', async () => {
  await writer.query(
    `CREATE TABLE tills (shop int NOT NULL); SELECT rowcast.attach('tills', 'shop'); INSERT INTO tills VALUES (1), (1)`,
  );
  const { answer } = await waiting([['tills:1', 'now']]);
  await writer.query('TRUNCATE tills; INSERT INTO tills VALUES (1)');
  const { frames, positions } = await answer;
  expect(frames[0]).toMatchObject({ type: 'reset', reason: 'epoch' });
  const rest =
    seqsOf(frames, 'tills:1').length > 0 ? [] : (await poll(gateway.url, Object.entries(positions), 1)).frames;
  // Where it goes on depends on when the gateway looked: before the new row, or after it.
  expect(String(frames[0]?.position).endsWith('.1') || seqsOf([...frames, ...rest], 'tills:1').join() === '1').toBe(
    true,
  );
});

test('I1 I2 I3: many pollers from anywhere, under load and at two gateways, get each event once and in order', async () => {
  const random = makeRandom(seed('integration/poll'));
  const rows = 1_500;
  const channels = ['message:p0', 'message:p1', 'message:p2'];
  for (const channel of channels) await publish(channel, 50);
  const writing = (async () => {
    for (let done = 50; done < rows; done += 50)
      for (const channel of random.shuffled(channels)) await publish(channel, 50);
  })();
  const read = async (from: readonly number[]) => {
    const seen = channels.map(() => [] as number[]);
    let wanted: Wanted = channels.map((channel, index) => [channel, `${from[index]}`] as const);
    while (seen.some((got, index) => (got.at(-1) ?? from[index] ?? 0) < rows)) {
      const { frames, positions } = await poll(random.pick([gateway, small]).url, wanted, random.pick([0, 1, 20]));
      for (const [index, channel] of channels.entries()) seen[index]?.push(...seqsOf(frames, channel));
      wanted = Object.entries(positions);
    }
    return seen;
  };
  const starts = Array.from({ length: 12 }, () => channels.map(() => random.int(0, 50)));
  const all = await Promise.all(starts.map(read));
  await writing;
  const wrong = all.flatMap((seen, reader) =>
    seen.filter((got, index) => {
      const from = starts[reader]?.[index] ?? 0;
      return got.join() !== seqs(from + 1, rows - from).join();
    }),
  );
  expect(wrong).toEqual([]);
}, 60_000);

test('I6: a client that does not wait for its answer leaves nothing behind', async () => {
  const polls: Awaited<ReturnType<typeof waiting>>[] = [];
  for (let index = 0; index < 20; index += 1) polls.push(await waiting([[`message:gone${index}`, 'now']]));
  expect(await figure('connections')).toBe(20);
  for (const { gone } of polls) gone();
  await until(async () => (await figure('connections')) + (await figure('subscriptions')) === 0, {
    what: 'all to end',
  });
});

test('I6: polls have a place each, and who finds none is told when to come back', async () => {
  const tight = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_MAX_CONNECTIONS: '2' });
  ends.push(() => tight.stop());
  await waiting([['message:t', 'now']], tight);
  await waiting([['message:t', 'now']], tight);
  const refused = await poll(tight.url, [['message:t', 'now']], 0);
  expect([refused.status, refused.text]).toEqual([503, expect.stringContaining('"too_many_connections"')]);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  await publish('message:t');
  const again = async () => (await poll(tight.url, [['message:t', 'now']], 0)).status === 200;
  await until(again, { what: 'a place' });
});
