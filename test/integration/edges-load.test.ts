import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import type { LocalGateway } from '../../server/gateway.js';
import { type ApiAnswer, ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';

const EXECUTIONS = '/api/agents/executions';

let database: TestDatabase;
let writer: pg.Pool;
let gateway: LocalGateway;
let ann: string;
let bob: string;
let cyd: string;
let venture: string;
let other: string;
let annas: string;
let bobs: string;
beforeAll(async () => {
  database = await createDatabase();
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  [venture, other] = [await createVenture(writer, 'ann', 'cyd'), await createVenture(writer, 'bob')];
  [annas, bobs] = [await createExecution(writer, venture), await createExecution(writer, other)];
  [ann = '', bob = '', cyd = ''] = await Promise.all(['ann', 'bob', 'cyd'].map((subject) => tokenFor(subject)));
  gateway = await start();
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

const start = () => startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: JWT_SECRET });
const append = ({ url }: LocalGateway, token: string, signal: AbortSignal | null = null) =>
  ask({ url }, `${EXECUTIONS}/${annas}/logs`, token, { method: 'PATCH', body: '{"message":"x"}', signal });

/** A program holds the row of an execution while `work` is done: appends to it wait. */
async function locked<T>(id: string, work: (waiting: (count: number) => Promise<void>) => Promise<T>): Promise<T> {
  const client = await writer.connect();
  await client.query('BEGIN');
  await client.query('SELECT FROM agent_executions WHERE execution_id = $1 FOR UPDATE', [id]);
  const waiting = async (count: number) => {
    const text = `SELECT count(*)::int AS count FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'`;
    const all = async () => (await writer.query<{ count: number }>(text)).rows[0]?.count === count;
    await until(all, { what: `${count} sessions that wait for the lock` });
  };
  try {
    return await work(waiting);
  } finally {
    await client.query('COMMIT');
    client.release();
  }
}

test('I6: users whose requests wait for a locked row, or search, wait behind themselves and delay no other user', async () => {
  const search = (of: string, token: string) => ask(gateway, `/api/agents/execution-logs/${of}?q=line`, token);
  const asked = await locked(annas, async (waiting) => {
    let answered = 0;
    const asked = [ann, ann, ann, cyd, ann, cyd, ann, ann, cyd, ann].map((token) =>
      append(gateway, token).finally(() => {
        answered += 1;
      }),
    );
    await waiting(2);
    asked.push(search(venture, ann), search(venture, ann), search(venture, ann));
    for (const path of [`/${bobs}`, `/${bobs}/metrics`, `/${bobs}/status`]) {
      expect((await ask(gateway, `${EXECUTIONS}${path}`, bob)).status).toBe(200);
    }
    expect((await search(other, bob)).status).toBe(200);
    expect(answered).toBeLessThan(4); // on a slow machine the first of them may have given up meanwhile
    return asked;
  });
  await Promise.all(asked);
});

test('I6: large bodies of a user are taken one at a time, and those of others beside them', async () => {
  const body = JSON.stringify({ message: 'x', context: 'x'.repeat(100_000) });
  const large = (id: string, token: string) =>
    ask(gateway, `${EXECUTIONS}/${id}/logs`, token, { method: 'PATCH', body }).then(({ status }) => status);
  const asked = await locked(annas, async (waiting) => {
    const asked = [large(annas, ann), large(annas, ann), large(annas, ann)];
    await waiting(1);
    expect(await large(bobs, bob)).toBe(200);
    await waiting(1);
    return asked;
  });
  expect(await Promise.all(asked)).toEqual([200, 200, 200]);
});

test('I6: more than may wait for one user is refused, and told when to come back', async () => {
  const refused: ApiAnswer[] = [];
  const asked = await locked(annas, async (waiting) => {
    const asked = Array.from({ length: 110 }, async () => {
      const answer = await append(gateway, ann);
      if (answer.status === 429) refused.push(answer);
    });
    await waiting(2);
    await until(() => refused.length >= 8, { what: 'those that are too many' });
    return asked;
  });
  await Promise.all(asked);
  const seen = refused.map(({ status, body, headers }) => [status, body.code, headers.get('retry-after')]);
  expect(seen).toEqual(Array(8).fill([429, 'rate_limited', '1']));
});

test('I6: a client that has gone leaves the line, and its request is not run', async () => {
  const rows = async () =>
    (await writer.query(`SELECT FROM agent_execution_logs WHERE execution_id = $1`, [annas])).rowCount;
  const before = (await rows()) ?? 0;
  const next = await locked(annas, async (waiting) => {
    const leaving = new AbortController();
    const asked = Array.from({ length: 102 }, () => append(gateway, ann, leaving.signal).catch(() => 'gone'));
    await waiting(2);
    leaving.abort();
    expect(await Promise.all(asked)).toEqual(Array(102).fill('gone'));
    // Refused until the gateway has noticed; then it waits, and is answered when the row is free.
    return until(async () => (await ask(gateway, `${EXECUTIONS}/${annas}`, ann)).status === 200, { what: 'a turn' });
  });
  expect(next).toBe(true);
  expect(((await rows()) ?? 0) - before).toBeLessThan(50);
});

test('a gateway that stops answers what it was asked before, and takes nothing more', async () => {
  const stopping = await start();
  await ask(stopping, `${EXECUTIONS}/${annas}`, ann); // leaves a connection that waits for nothing
  const silent = connect(Number(new URL(stopping.url).port), '127.0.0.1');
  await once(silent, 'connect');
  const { answer, stopped } = await locked(annas, async (waiting) => {
    const answer = append(stopping, ann);
    await waiting(1);
    const stopped = stopping.stop();
    await once(silent, 'close');
    await expect(ask(stopping, '/healthz')).rejects.toThrow();
    return { answer, stopped };
  });
  const { status, headers, body } = await answer;
  expect([status, body.code, headers.get('connection')]).toEqual([200, undefined, 'close']);
  await stopped;
});

test.each(['/v1/poll', EXECUTIONS])(
  'I6: a body without end is refused at once, and not read for long: %s',
  async (path) => {
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    let answer = '';
    socket.on('data', (data) => {
      answer += data;
    });
    socket.on('error', () => {});
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ann}\r\n`;
    socket.write(`${head}Content-Length: 10000000000\r\n\r\n`);
    await until(() => answer.includes('\r\n\r\n'), { what: 'an answer', deadlineMs: 2_000 });
    expect(answer).toMatch(/^HTTP\/1.1 413 .*"code":"frame_too_large"/s);
    const piece = Buffer.alloc(65_536);
    const send = () => {
      while (socket.writable && socket.write(piece));
    };
    socket.on('drain', send);
    send();
    await until(() => socket.destroyed, { what: 'the end', deadlineMs: 5_000 }); // a whole request may take ten seconds
    expect(socket.bytesWritten).toBeLessThan(32 * 1024 * 1024); // what the buffers of the kernel hold
  },
);
