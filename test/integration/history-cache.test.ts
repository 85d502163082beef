import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { seqsOf } from '../support/event-stream.js';
import { seqs } from '../support/follow.js';
import { readAnswers } from '../support/fuzz-http.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { poll, pollAddress, type Wanted } from '../support/poll.js';
import { talk } from '../support/raw-http.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const REQUESTS = 2_500;
const CONNECTIONS = 50;

const PAGED = { pageRows: 20, pageBytes: 2_048 };

let database: TestDatabase;
let gateways: Gateway[];
let shared: Gateway;
let writer: pg.Client;
let epoch: string;

beforeAll(async () => {
  database = await createDatabase();
  gateways = [
    await startTestGateway(database.url, NO_RATES, PAGED),
    await startTestGateway(database.url, NO_RATES, PAGED),
  ];
  shared = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_CACHE: 'public' }, PAGED);
  writer = await connectWriter(database.url);
  for (const channel of ['message:a', 'message:b']) await publish(channel, 200);
  const { positions } = await poll(shared.url, [['message:a', 'now']], 0);
  epoch = positions['message:a']?.split('.')[0] ?? '';
});
afterAll(async () => {
  await writer.end();
  for (const gateway of [...gateways, shared]) await gateway.stop();
  await database.drop();
});

const publish = (channel: string, count = 1) =>
  writer.query(`SELECT rowcast.publish($1, 'note', to_jsonb(i)) FROM generate_series(1, $2::int) i`, [channel, count]);

async function figure(name: string, { url }: Gateway): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^rowcast_${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

/** Asks as often for the same, on many connections, without waiting for the answers; gives the different ones. */
async function askOften(times: number, addresses: readonly string[], header = ''): Promise<Set<string>> {
  const each = Math.ceil(times / CONNECTIONS);
  const methods = Array.from({ length: each }, () => 'GET');
  const answers = await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, index) => {
      const { origin, host, pathname, search } = new URL(addresses[index % addresses.length] ?? '');
      const ask = (end: string) => `GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\n${header}${end}\r\n`;
      const bytes = await talk(origin, `${ask('').repeat(each - 1)}${ask('Connection: close\r\n')}`);
      return readAnswers(Buffer.from(bytes), methods).answers;
    }),
  );
  expect(answers.flat()).toHaveLength(each * CONNECTIONS);
  return new Set(answers.flat().map(({ status, body }) => `${status} ${body}`));
}

test('2,500 polls for the same page of history cost each gateway one read of the database', async () => {
  const before = await Promise.all(gateways.map((gateway) => figure('tail_reads_total', gateway)));
  const began = performance.now();
  const addresses = gateways.map(({ url }) => pollAddress(url, [['message:a', `${epoch}.40`]]));
  const answers = await askOften(REQUESTS, addresses);
  const took = (performance.now() - began) / 1000;
  process.stderr.write(`${REQUESTS} polls for one page: ${Math.round(REQUESTS / took)} a second\n`);
  expect(answers.size).toBe(1);
  const [answer = ''] = answers;
  const { frames } = JSON.parse(answer.slice(answer.indexOf('{'))) as { frames: [] };
  expect(seqsOf(frames, 'message:a')).toEqual(seqs(41, 20));
  for (const [index, gateway] of gateways.entries()) {
    const statements = ['open_statements_total', 'page_statements_total', 'pages_total'];
    expect(await Promise.all(statements.map((name) => figure(name, gateway)))).toEqual([1, 1, 1]);
    // Nor does anybody wait for a read of the tail: those come by the clock.
    const reads = (await figure('tail_reads_total', gateway)) - (before[index] ?? 0);
    expect(reads).toBeLessThan(20 + 20 * took);
  }
}, 60_000);

test('pages of history asked by position may be kept for ever, and the rest must be asked for', async () => {
  const cases: [Wanted, string][] = [
    [[['message:a', `${epoch}.40`]], 'max-age=31536000, immutable'], // full
    [
      [
        ['message:a', `${epoch}.40`],
        ['message:b', `${epoch}.1`],
      ],
      'max-age=31536000, immutable',
    ],
    [[['message:a', `${epoch}.195`]], 'no-cache'], // as much as there is
    [[['message:a', 'start']], 'no-cache'], // full, but depends on the floor
    [[['message:a', '40']], 'no-cache'], // full, but of whatever numbering
    [
      [
        ['message:a', `${epoch}.40`],
        ['message:b', 'start'],
      ],
      'no-cache',
    ],
  ];
  for (const [wanted, control] of cases) {
    for (const [gateway, scope] of [
      [gateways[0], 'private'],
      [shared, 'public'],
    ] as const) {
      const { status, headers, frames } = await poll(gateway?.url ?? '', wanted);
      expect([status, headers.get('cache-control')]).toEqual([200, `${scope}, ${control}`]);
      expect(headers.get('etag')).toMatch(/^W\/"[\w-]+"$/);
      expect(headers.get('vary')).toBe(scope === 'private' ? 'Authorization, Cookie' : null);
      expect(frames.length).toBeGreaterThan(0);
    }
  }
  const old = await poll(shared.url, [['message:a', 'zzzz.40']]);
  expect(old.frames[0]?.type).toBe('reset');
  expect([old.headers.get('cache-control'), old.headers.get('etag')]).toEqual(['public, no-cache', null]);
  const refused = await poll(shared.url, [
    ['message:a', `${epoch}.195`],
    ['nowhere:b', `${epoch}.1`],
  ]);
  expect([refused.headers.get('cache-control'), refused.headers.get('etag')]).toEqual(['public, no-cache', null]);
});

test('who has the answer is told so, and who does not gets it', async () => {
  const wanted: Wanted = [['message:a', `${epoch}.195`]];
  const first = await poll(shared.url, wanted);
  const etag = first.headers.get('etag') ?? '';
  const headed = async (wanted: Wanted, tag: string) =>
    [...(await askOften(1, [pollAddress(shared.url, wanted)], `If-None-Match: ${tag}\r\n`))].join();
  expect(await headed(wanted, etag)).toBe('304 ');
  // `fetch` says with it that no cache may answer in place of the gateway.
  const asked = await poll(shared.url, wanted, undefined, { headers: { 'If-None-Match': etag } });
  expect([asked.status, asked.text]).toEqual([304, '']);
  expect(await headed(wanted, `"x", ${etag}`)).toBe('304 ');
  expect(await headed(wanted, 'W/"other"')).toMatch(/^200 /);
  expect(await headed(wanted, etag.replace('W/', ''))).toBe('304 ');
  expect(await headed(wanted, '*')).toBe('304 ');
  expect(await headed([['message:a', 'zzzz.40']], '*')).toMatch(/^200 /); // which has no tag
  expect(await headed([['message:a', `${epoch}.190`]], etag)).toMatch(/^200 /);
  await publish('message:a');
  const more = await until(
    async () => {
      const answer = await headed(wanted, etag);
      return answer.startsWith('200 ') ? answer : null;
    },
    { what: 'the gateway to know of it' },
  );
  const { frames } = JSON.parse(more.slice(4)) as { frames: [] };
  expect(seqsOf(frames, 'message:a')).toEqual(seqs(196, 6));
});

test('a new numbering makes no answer of the old one look right', async () => {
  await writer.query(`CREATE TABLE orders (shop int NOT NULL); SELECT rowcast.attach('orders', 'shop');
    INSERT INTO orders SELECT 1 FROM generate_series(1, 30)`);
  const first = await poll(shared.url, [['orders:1', '0']]);
  await writer.query('TRUNCATE orders; INSERT INTO orders SELECT 1 FROM generate_series(1, 30)');
  const positions = async () => (await poll(shared.url, [['orders:1', '0']], 0)).positions['orders:1'];
  await until(async () => (await positions()) !== first.positions['orders:1'], { what: 'the new numbering' });
  const known = await askOften(
    1,
    [pollAddress(shared.url, [['orders:1', '0']])],
    `If-None-Match: ${first.headers.get('etag')}\r\n`,
  );
  expect([...known].join()).toMatch(/^200 /);
});
