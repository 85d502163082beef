import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Client, ClientOptions, SessionState } from '../../client/node.js';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Follower, follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { signWith } from '../support/issuer.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution, newVenture } from '../support/writer.js';

const SECRET = 'a secret of at least thirty-two characters';
/** Of a token, in seconds. Whole seconds count, so a token of 2 may be good for 1: less than a request of a busy machine takes. */
const LIFETIME = 4;

/** Ways to the gateway. `polling` asks in intervals. */
const WAYS = ['websocket', 'sse', 'poll', 'polling'] as const;

const sign = signWith(Buffer.from(SECRET), { alg: 'HS256' });

let database: TestDatabase;
let writer: pg.Client;
let gateway: Gateway;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: SECRET }, { jwtClockTolerance: 0 });
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

interface Reader {
  readonly client: Client;
  readonly follower: Follower;
  /** States of the client, and of the subscription. */
  readonly states: SessionState[];
  readonly ends: (string | undefined)[];
}

function read(way: (typeof WAYS)[number], channel: string, token: () => Promise<string>): Reader {
  const states: SessionState[] = [];
  const options: ClientOptions = { url: gateway.url, token, onState: (state) => states.push(state) };
  const transports = [way === 'polling' ? 'poll' : way] as const;
  const client =
    way === 'poll' // alone it would be the client that asks in intervals
      ? testClient({ ...options, transports: ['sse', 'poll'], fetch: withoutStreams })
      : testClient({ ...options, transports });
  const ends: (string | undefined)[] = [];
  const follower = follow(client, channel, 'start', (state, error) => state === 'closed' && ends.push(error?.code));
  return { client, follower, states, ends };
}

const withoutStreams: typeof fetch = async (input, init) => {
  if (String(input).includes('/v1/sse')) throw new TypeError('a proxy that lets no stream through');
  return fetch(input, init);
};

/** Writes rows one by one while `work` runs; how many there are. */
async function writeDuring(execution: string, work: () => Promise<unknown>): Promise<number> {
  let done = false;
  const working = work().finally(() => {
    done = true;
  });
  let count = 0;
  for (; !done; count += 1) await log(writer, execution);
  await working;
  return count;
}

test('I1 I2 I3: tokens expire while events come: on every way each comes once, and the reader does not notice', async () => {
  const execution = await newExecution(writer);
  const asked = WAYS.map(() => 0);
  const readers = WAYS.map((way, index) =>
    read(way, `execution:${execution}`, () => {
      asked[index] = (asked[index] ?? 0) + 1;
      return sign({ role: 'service_role', exp: LIFETIME });
    }),
  );
  const connected = () => readers.every(({ client }) => client.state === 'connected');
  const count = await writeDuring(execution, async () => {
    await until(connected, { what: 'all to be connected' });
    const before = [...asked];
    const twice = () => asked.every((count, index) => count >= (before[index] ?? 0) + 2);
    await until(twice, { deadlineMs: 30_000, what: 'two tokens to expire on each way' });
  });
  for (const { follower, states } of readers) {
    await follower.count(count);
    expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, count));
    expect(follower.resets).toEqual([]);
    expect(new Set(states.slice(states.indexOf('connected')))).toEqual(new Set(['connected']));
  }
  console.log(`${count} events on each way; tokens asked for: ${asked.join(', ')}`);
});

test('I2 I5: until there is a fresh token nothing comes, and then all that was missed', async () => {
  const execution = await newExecution(writer);
  let expires = 0;
  let broken = false;
  const readers = WAYS.map((way) =>
    read(way, `execution:${execution}`, async () => {
      if (broken) throw new Error('there is no token');
      expires = Math.max(expires, Date.now() + 1_000 * LIFETIME);
      return sign({ role: 'service_role', exp: LIFETIME });
    }),
  );
  await log(writer, execution, 5);
  await Promise.all(readers.map(({ follower }) => follower.count(5)));
  broken = true;
  await until(() => Date.now() > expires, { what: 'the last token to expire' });
  await log(writer, execution, 100);
  await until(() => Date.now() > expires + 500, { what: 'a time in which they would have come' });
  for (const { follower } of readers) expect(follower.events).toHaveLength(5);
  broken = false;
  await Promise.all(readers.map(({ follower }) => follower.count(105)));
  for (const { follower } of readers) expect(follower.events.map(({ seq }) => seq)).toEqual(seqs(1, 105));
});

test('I5: on every way a client that loses the right reads no more, and one without it begins nothing', async () => {
  const venture = await newVenture(writer);
  const execution = await newExecution(writer, venture);
  await writer.query(`INSERT INTO venture_members VALUES ($1, 'ann', 'viewer')`, [venture]);
  const open = (sub: string) => WAYS.map((way) => read(way, `execution:${execution}`, () => sign({ sub })));
  const [members, strangers] = [open('ann'), open('bob')];
  await log(writer, execution, 3);
  await Promise.all(members.map(({ follower }) => follower.count(3)));
  const closed = (readers: Reader[]) => readers.every(({ ends }) => ends.length > 0);
  await until(() => closed(strangers), { what: 'the strangers to be refused' });
  await writer.query('DELETE FROM venture_members WHERE venture_id = $1', [venture]);
  const revoked = performance.now();
  await until(() => closed(members), { what: 'the members to be told' });
  console.log(`all were told after ${Math.round(performance.now() - revoked)} ms`);
  await log(writer, execution, 3);
  for (const { ends, client } of [...members, ...strangers])
    expect([ends, client.state]).toEqual([['forbidden'], 'connected']);
  for (const { follower } of members) expect(follower.events).toHaveLength(3);
  for (const { follower } of strangers) expect(follower.events).toEqual([]);
});
