import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { openEventStream } from '../support/event-stream.js';
import { fairNow } from '../support/fair-clock.js';
import { NO_RATES } from '../support/gateway.js';
import { ask } from '../support/poll.js';
import { killAll, startGatewayProcess } from '../support/process.js';
import { until } from '../support/until.js';

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});
afterAll(async () => {
  killAll();
  await database.drop();
});

test('commands find their session, at whichever worker that is', async () => {
  const gateway = await startGatewayProcess(database.url, { ...NO_RATES, ROWCAST_WORKERS: '3' });
  const streams = await Promise.all(
    Array.from({ length: 6 }, (_, index) =>
      openEventStream(`${gateway.url}/v1/sse?channel=message:w&session=s${index}`),
    ),
  );
  for (const stream of streams) await stream.frame('subscribed');
  /** On a connection of its own: it is given to any worker. */
  const command = async (session: string, id: number) => {
    const body = JSON.stringify({ session, commands: [{ type: 'ping', id }] });
    const headers = { connection: 'close' };
    return (await ask(`${gateway.url}/v1/commands`, { method: 'POST', headers, body })).status;
  };
  const rounds = Array.from({ length: 20 }, (_, id) => id);
  for (const index of streams.keys()) {
    expect(await Promise.all(rounds.map((id) => command(`s${index}`, id)))).toEqual(rounds.map(() => 202));
  }
  for (const { frames } of streams) {
    const pongs = () => frames.filter(({ type }) => type === 'pong').map(({ id }) => id);
    await until(() => pongs().length >= rounds.length, { what: 'the answers' });
    expect(pongs().sort((a, b) => Number(a) - Number(b))).toEqual(rounds); // each of them once
  }
  const began = fairNow();
  expect(await Promise.all(rounds.map((id) => command('nobody', id)))).toEqual(rounds.map(() => 404));
  expect(fairNow() - began).toBeLessThan(1_900); // nobody waits for a time-out

  // One worker hangs: what is elsewhere is found all the same, and the rest is given up in time.
  const children = await readFile(`/proc/${gateway.pid}/task/${gateway.pid}/children`, 'utf8');
  const [hung = 0, ...well] = children.trim().split(' ').map(Number);
  expect(well).toHaveLength(2);
  process.kill(hung, 'SIGSTOP');
  const answered = async (session: string) => {
    const body = JSON.stringify({ session, commands: [{ type: 'ping', id: 99 }] });
    const signal = AbortSignal.timeout(3_500); // every third connection is given to the one that hangs
    const headers = { connection: 'close' };
    return ask(`${gateway.url}/v1/commands`, { method: 'POST', headers, body, signal }).then(
      ({ status }) => status,
      () => 0,
    );
  };
  const [found, lost] = await Promise.all([
    Promise.all(streams.map((_, index) => answered(`s${index}`))),
    Promise.all(streams.map(() => answered('nobody'))),
  ]);
  expect(found.filter((status) => status === 202).length).toBeGreaterThan(0);
  expect(lost.filter((status) => status === 404).length).toBeGreaterThan(0);
  process.kill(hung, 'SIGCONT');
  for (const stream of streams) stream.close();
  await gateway.stop();
}, 60_000);

test('a session that is opened twice at once, at whichever workers, is found', async () => {
  const gateway = await startGatewayProcess(database.url, { ...NO_RATES, ROWCAST_WORKERS: '3' });
  for (let round = 0; round < 10; round += 1) {
    const opened = [0, 1].map(() => openEventStream(`${gateway.url}/v1/sse?channel=message:w&session=twice${round}`));
    const streams = await Promise.all(opened);
    for (const stream of streams) await stream.frame('subscribed');
    const body = JSON.stringify({ session: `twice${round}`, commands: [{ type: 'ping', id: 9 }] });
    const headers = { connection: 'close' };
    expect((await ask(`${gateway.url}/v1/commands`, { method: 'POST', headers, body })).status).toBe(202);
    await until(() => streams.some(({ frames }) => frames.some(({ type }) => type === 'pong')), { what: 'the answer' });
    for (const stream of streams) stream.close();
  }
  await gateway.stop();
});
