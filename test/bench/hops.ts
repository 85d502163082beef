/**
 * Takes the way of one event apart: one subscriber, 50 rows a second, and the time at which each row passes each hop, from sending
 * COMMIT to the callback. The gateway is a process of its own; the writer and the client share this one.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { WebSocket } from 'ws';
import { createClient } from '../../client/node.js';
import { migrate } from '../../server/postgres/migrate.js';
import { startEmbedded } from '../support/server.js';

const ROWS = Number(process.env.ROWS ?? 800);
const INTERVAL = 20;
/** Rows that are not counted: the code is compiled, and the statements are planned. */
const WARM_UP = 200;

/** The hops in their order, and what the time since the hop before is spent on. */
const HOPS = [
  ['ring', 'PostgreSQL: commit, and NOTIFY to the gateway'],
  ['asked', 'gateway: the doorbell calls the tail'],
  ['sent', 'driver: the read is written to the socket'],
  ['reply', 'PostgreSQL: the read of the tail'],
  ['parsed', 'driver: the rows are parsed'],
  ['moved', 'tail: the rows are checked and grouped by channel'],
  ['framed', 'hub: page and frame'],
  ['written', 'transport: the frame is written to the socket'],
  ['message', 'kernel, and the WebSocket of the client'],
  ['callback', 'client library'],
] as const;

const now = () => Number(process.hrtime.bigint()) / 1e6;
const percentile = (values: number[], p: number) =>
  values.sort((a, b) => a - b)[Math.floor((values.length - 1) * p)] ?? Number.NaN;

type Times = [hop: string, at: number][];

const ownTimes: Times = [];
class NotingWebSocket extends WebSocket {
  constructor(url: string, protocols?: string | string[]) {
    super(url, protocols);
    this.on('message', () => ownTimes.push(['message', now()]));
  }
}

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-bench-'));
const cluster = await startEmbedded({ dataDir });
await migrate(cluster.url, { with: ['executions'] });
const gateway = fork(fileURLToPath(new URL('hops-gateway.ts', import.meta.url)), [cluster.url]);
const [url] = (await once(gateway, 'message')) as [string];
const client = createClient({ url, WebSocket: NotingWebSocket as never });
const writer = new pg.Client({ connectionString: cluster.url });
try {
  await writer.connect();
  let arrived = () => {};
  await new Promise<void>((resolve) => {
    client.subscribe('message:bench', {
      onEvent() {
        ownTimes.push(['callback', now()]);
        arrived();
      },
      onState: (state) => state === 'live' && resolve(),
    });
  });
  const insert = {
    name: 'insert',
    text: `INSERT INTO rowcast.messages (key, event_type, data) VALUES ('bench', 'log', $1)`,
    values: [JSON.stringify({ step: 'read src/fields.py', note: 'x'.repeat(200) })],
  };
  const rows: { sent: number; answered: number }[] = [];
  for (let row = 0; row < WARM_UP + ROWS; row++) {
    if (row === WARM_UP) await takeTimes();
    const next = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    await writer.query('BEGIN');
    await writer.query(insert);
    const sent = now();
    const answered = writer.query('COMMIT').then(now);
    await next;
    if (row >= WARM_UP) rows.push({ sent, answered: await answered });
    await delay(INTERVAL);
  }
  const all = [...(await takeTimes()), ...ownTimes].sort(([, a], [, b]) => a - b);
  report(rows, all);
} finally {
  client.close();
  await writer.end();
  gateway.disconnect();
  await once(gateway, 'exit');
  await cluster.stop();
  await rm(dataDir, { recursive: true });
}

/** Returns the times that the gateway has noted since the last call. */
async function takeTimes(): Promise<Times> {
  gateway.send('take');
  const [noted] = (await once(gateway, 'message')) as [Times];
  return noted;
}

function report(rows: { sent: number; answered: number }[], all: Times): void {
  const spans = HOPS.map(() => [] as number[]);
  const totals: number[] = [];
  for (const [index, { sent }] of rows.entries()) {
    const end = rows[index + 1]?.sent ?? Number.POSITIVE_INFINITY;
    const own = all.filter(([, at]) => at >= sent && at < end);
    let before = sent;
    const passed = HOPS.map(([hop]) => own.find(([name, at]) => name === hop && at >= before)?.[1] ?? before);
    for (const [hop, at] of passed.entries()) {
      spans[hop]?.push(at - before);
      before = at;
    }
    totals.push(before - sent);
  }
  const line = (name: string, values: number[]) => {
    const [p50, p95, p99] = [0.5, 0.95, 0.99].map((p) => percentile(values, p).toFixed(3).padStart(8));
    process.stdout.write(`${name.padEnd(56)}${p50}${p95}${p99}\n`);
  };
  process.stdout.write(`${'milliseconds, of which'.padEnd(56)}     p50     p95     p99\n`);
  for (const [hop, [, what]] of HOPS.entries()) line(what, spans[hop] ?? []);
  line('from sending COMMIT to the callback', totals);
  line(
    'from sending COMMIT to the answer of the writer',
    rows.map(({ sent, answered }) => answered - sent),
  );
}
