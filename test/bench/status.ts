/**
 * `GET /api/agents/executions/:execution_id/status` with 100 pollers: each asks again as soon as it has its answer, and
 * then each asks five times a second. Real gateway process, tokens, executions of 1,000 rows that keep growing. All on
 * this machine: the pollers, the gateway, PostgreSQL and the writer share its processors.
 */
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { migrate } from '../../server/postgres/migrate.js';
import { addLogs, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { NO_RATES } from '../support/gateway.js';
import { startGatewayProcess } from '../support/process.js';
import { startEmbedded } from '../support/server.js';

const POLLERS = 100;
const ROWS = 1_000;
/** In milliseconds. */
const WARM_UP = 2_000;
const MEASURED = 8_000;
const PAUSE = 200;
/** Rows that all executions together get in a second. */
const GROWTH = 100;

const percentile = (sorted: readonly number[], p: number) => sorted[Math.floor((sorted.length - 1) * p)] ?? Number.NaN;

interface Poller {
  readonly path: string;
  readonly token: string;
}

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-bench-'));
const cluster = await startEmbedded({ dataDir, settings: { shared_preload_libraries: 'pg_stat_statements' } });
const writer = new pg.Client({ connectionString: cluster.url });
const growing = new AbortController();
let growth: Promise<void> = Promise.resolve();
await migrate(cluster.url, { with: ['executions'] });
await writer.connect();
await writer.query('CREATE EXTENSION pg_stat_statements');
const gateway = await startGatewayProcess(cluster.url, {
  ...NO_RATES,
  ROWCAST_USER_RATE: '1000000',
  ROWCAST_JWT_SECRET: JWT_SECRET,
});

/** Asks on one connection; as little work as may be, since it shares the processors with what it measures. */
async function asking({ path, token }: Poller): Promise<{ ask(): Promise<void>; end(): void }> {
  const { hostname, port, host } = new URL(gateway.url);
  const socket: Socket = connect(Number(port), hostname);
  const request = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n\r\n`;
  let answer = '';
  let answered = () => {};
  let failed = (_reason: Error) => {};
  socket.setEncoding('latin1').on('data', (data: string) => {
    answer += data;
    const length = /\r\ncontent-length: (\d+)\r\n/i.exec(answer)?.[1];
    if (answer.length < answer.indexOf('\r\n\r\n') + 4 + Number(length)) return;
    if (answer.startsWith('HTTP/1.1 200 ')) answered();
    else failed(new Error(`${path} answered ${answer}`));
    answer = '';
  });
  socket.on('error', (error) => failed(error));
  await once(socket, 'connect');
  return {
    ask: () =>
      new Promise((resolve, reject) => {
        [answered, failed] = [resolve, reject];
        socket.write(request);
      }),
    end: () => socket.destroy(),
  };
}

async function poll(poller: Poller, pause: number, signal: AbortSignal, samples: number[]): Promise<void> {
  const { ask, end } = await asking(poller);
  await delay(Math.random() * pause);
  while (!signal.aborted) {
    const asked = performance.now();
    await ask();
    const took = performance.now() - asked;
    samples.push(took);
    if (pause > 0) await delay(Math.max(0, pause - took));
  }
  end();
}

async function run(pollers: readonly Poller[], pause: number, duration: number): Promise<number[]> {
  const samples: number[] = [];
  const stop = new AbortController();
  const running = Promise.all(pollers.map((poller) => poll(poller, pause, stop.signal, samples)));
  await Promise.race([delay(duration), running]); // a poller that fails ends it
  stop.abort();
  await running;
  return samples.sort((a, b) => a - b);
}

/** Processor time that the gateway has used, in milliseconds; Linux counts it in hundredths of a second. */
async function used(): Promise<number> {
  const stat = await readFile(`/proc/${gateway.pid}/stat`, 'utf8');
  const [, user, system] = /\) (?:\S+ ){11}(\d+) (\d+) /.exec(stat) ?? [];
  return (Number(user) + Number(system)) * 10;
}

async function measure(name: string, pollers: readonly Poller[], pause: number): Promise<void> {
  await run(pollers, pause, WARM_UP);
  await writer.query('SELECT pg_stat_statements_reset()');
  const before = await used();
  const samples = await run(pollers, pause, MEASURED);
  const cpu = (((await used()) - before) / samples.length).toFixed(3);
  const { rows } = await writer.query<{ statements: number }>(
    `SELECT coalesce(sum(calls), 0)::int AS statements FROM pg_stat_statements
      WHERE (query LIKE '%from_was%' OR query LIKE '%rowcast.decide%') AND query NOT LIKE '%pg_stat%'`,
  );
  if (!rows[0]?.statements) throw new Error('no query was counted');
  const [median, p99] = [0.5, 0.99].map((p) => percentile(samples, p).toFixed(1));
  const perSecond = (samples.length / (MEASURED / 1000)).toFixed(0);
  const statements = ((rows[0]?.statements ?? 0) / samples.length).toFixed(3);
  process.stdout.write(`${name.padEnd(48)} median ${median} ms  p99 ${p99} ms  ${perSecond} requests/s`);
  process.stdout.write(`  ${statements} queries and ${cpu} ms of the gateway's processor a request\n`);
}

try {
  const users = Array.from({ length: POLLERS }, (_, index) => `user-${index}`);
  const venture = await createVenture(writer, ...users);
  const executions: string[] = [];
  for (const _ of users) {
    const execution = await createExecution(writer, venture);
    await addLogs(writer, execution, ROWS);
    executions.push(execution);
  }
  await writer.query('VACUUM ANALYZE');
  const tokens = await Promise.all(users.map((user) => tokenFor(user)));
  const path = (index: number) => `/api/agents/executions/${executions[index]}/status`;
  const ofOne = users.map((_, index) => ({ path: path(index), token: tokens[0] ?? '' }));
  const ofMany = users.map((_, index) => ({ path: path(index), token: tokens[index] ?? '' }));
  growth = (async () => {
    for (let line = ROWS; !growing.signal.aborted; line += 1) {
      await addLogs(writer, executions[line % POLLERS] ?? '', 1, line);
      await delay(1000 / GROWTH, undefined, { signal: growing.signal }).catch(() => {});
    }
  })();
  await measure('one user, 100 pollers, without a pause', ofOne, 0);
  await measure('one user, 100 pollers, every 200 ms', ofOne, PAUSE);
  await measure('100 users, 100 pollers, without a pause', ofMany, 0);
  await measure('100 users, 100 pollers, every 200 ms', ofMany, PAUSE);
  process.stdout.write(
    'a query reads what is new of up to 100 executions (three round trips), or decides who may see up to as many\n',
  );
} finally {
  growing.abort();
  await growth.catch(() => {});
  await writer.end();
  await gateway.stop();
  await cluster.stop();
  await rm(dataDir, { recursive: true });
}
