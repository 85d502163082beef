import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { makeLogger } from '../../server/ground/logger.js';
import {
  type Broadcast,
  type BroadcastEvent,
  type LocalGateway,
  type Progress,
  StatusBroadcaster,
} from '../../server/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution } from '../support/writer.js';

let database: TestDatabase;
let gateway: LocalGateway;
let broadcaster: StatusBroadcaster;
let writer: pg.Client;
const ANN = { subject: 'ann', role: 'authenticated', claims: '{"sub":"ann"}', expiresAt: null } as const;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  gateway = await startTestGateway(
    database.url,
    { ROWCAST_LOG_LEVEL: 'silent' },
    { sendBufferBytes: 4_096, refreshTimeout: 100 },
  );
  broadcaster = new StatusBroadcaster(gateway, { logger: makeLogger('silent') });
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

test('I1 I2 I3 a subscriber in the process gets what was there and what comes, each once, and resumes at a position', async () => {
  const id = await newExecution(writer);
  await log(writer, id, 300);
  const events: BroadcastEvent[] = [];
  const progress: Progress[] = [];
  const broadcast = await broadcaster.subscribe(`execution:${id}`, {
    onEvent: (event) => void events.push(event),
    onProgress: (view) => void progress.push(view),
  });
  await log(writer, id, 300);
  await writer.query(`UPDATE agent_executions SET status = 'running' WHERE execution_id = $1`, [id]);
  await until(() => events.length >= 601, { what: 'all events' });
  expect(events.map(({ seq }) => seq)).toEqual(upTo(601));
  expect(events[0]).toMatchObject({ channel: `execution:${id}`, type: 'log', row: { message: 'step 1' } });
  await until(() => progress.at(-1)?.status === 'running', { what: 'the progress' });
  expect(progress.at(-1)?.seq).toBe(601);
  broadcast.close();

  const later: number[] = [];
  let answered = false;
  const early: number[] = [];
  const resumed = await broadcaster.subscribe(`execution:${id}`, {
    since: events[598]?.position ?? '',
    onEvent({ seq }) {
      later.push(seq);
      if (!answered) early.push(seq);
    },
  });
  answered = true;
  await until(() => later.length >= 2, { what: 'the rest' });
  expect([later, early]).toEqual([[600, 601], []]);
  resumed.close();
});

test('I2 I4 a slow subscriber delays no other, misses nothing, and hears nothing after close', async () => {
  const id = await newExecution(writer);
  const slow: number[] = [];
  const fast: number[] = [];
  let go = () => {};
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const [first, second] = (await Promise.all([
    broadcaster.subscribe(`execution:${id}`, {
      onEvent({ seq }) {
        slow.push(seq);
        return gate;
      },
    }),
    broadcaster.subscribe(`execution:${id}`, { onEvent: ({ seq }) => void fast.push(seq) }),
  ])) as [Broadcast, Broadcast];
  for (let round = 0; round < 20; round += 1) await log(writer, id, 100, 'x'.repeat(200));
  await until(() => fast.length >= 2_000, { what: 'the fast one' });
  expect(slow).toEqual([1]);
  go();
  await until(() => slow.length >= 2_000, { what: 'the slow one' });
  expect(slow).toEqual(upTo(2_000));
  first.close();
  second.close();

  // Within a frame, and while others wait.
  const heard: number[] = [];
  const third = await broadcaster.subscribe(`execution:${id}`, {
    since: 'start',
    onEvent({ seq }) {
      heard.push(seq);
      if (seq === 3) third.close();
      if (seq === 1) throw new Error('a subscriber that fails misses nothing');
    },
  });
  await log(writer, id, 1);
  const fourth: number[] = [];
  await broadcaster.subscribe(`execution:${id}`, {
    since: 'start',
    onEvent: ({ seq }) => void fourth.push(seq),
  });
  await until(() => fourth.length >= 2_001, { what: 'the last event' });
  expect(heard).toEqual([1, 2, 3]);
  expect([slow.length, fast.length]).toEqual([2_000, 2_000]);
});

test('I5 a given principal is asked as every other: refused, admitted, and sent away when its right is gone', async () => {
  const id = await newExecution(writer);
  const channel = `execution:${id}`;
  await expect(broadcaster.subscribe(channel, { principal: ANN })).rejects.toMatchObject({ code: 'forbidden' });
  await expect(broadcaster.subscribe('nothing:1', {})).rejects.toMatchObject({ code: 'unknown_channel' });
  await writer.query(
    `INSERT INTO venture_members SELECT venture_id, 'ann', 'viewer' FROM agent_executions WHERE execution_id = $1`,
    [id],
  );
  const events: number[] = [];
  const ends: string[] = [];
  const subscribe = () =>
    broadcaster.subscribe(channel, {
      principal: ANN,
      onEvent: ({ seq }) => void events.push(seq),
      onEnd: (code) => void ends.push(code),
    });
  await until(
    () =>
      subscribe().then(
        () => true,
        () => false,
      ),
    { what: 'the membership to count' },
  );
  await log(writer, id, 1);
  await until(() => events.length === 1, { what: 'an event' });
  await writer.query('DELETE FROM venture_members');
  await until(() => ends.length > 0, { deadlineMs: 2_000, what: 'the end' });
  await log(writer, id, 1);
  expect([events, ends]).toEqual([[1], ['forbidden']]);
});

test('I5 nothing comes after the token of a given principal has expired', async () => {
  const id = await newExecution(writer);
  const service = { ...ANN, role: 'service_role', expiresAt: Date.now() + 300 } as const;
  const events: number[] = [];
  const ends: string[] = [];
  await broadcaster.subscribe(`execution:${id}`, {
    principal: service,
    onEvent: ({ seq }) => void events.push(seq),
    onEnd: (code) => void ends.push(code),
  });
  await log(writer, id, 1);
  await until(() => events.length === 1, { what: 'an event in time' });
  await until(() => Date.now() > service.expiresAt + 20, { what: 'the end of the token' });
  await log(writer, id, 1);
  await until(() => ends.length > 0, { what: 'the end' });
  expect([events, ends]).toEqual([[1], ['token_expired']]);
});

test('a subscriber whose onFrame rejects is ended with an error; others go on', async () => {
  const id = await newExecution(writer);
  const ends: string[] = [];
  let frames = 0;
  await gateway.inProcess.subscribe({
    principal: { ...ANN, role: 'service_role' },
    channel: `execution:${id}`,
    since: 'start',
    async onFrame({ type }) {
      frames += 1;
      if (type === 'events') throw new Error('not today');
    },
    onEnd: (code) => void ends.push(code),
  });
  const others: number[] = [];
  await broadcaster.subscribe(`execution:${id}`, { since: 'start', onEvent: ({ seq }) => void others.push(seq) });
  for (let row = 1; row <= 2; row += 1) {
    await log(writer, id, 1);
    await until(() => others.length === row, { what: 'the other subscriber' });
  }
  expect([ends, frames]).toEqual([['internal'], 2]);
});

test('a gateway that stops says so', async () => {
  const other = await startTestGateway(database.url);
  const ends: string[] = [];
  await new StatusBroadcaster(other).subscribe('message:lobby', { onEnd: (code) => void ends.push(code) });
  await other.stop();
  expect(ends).toEqual(['shutting_down']);
});
