/**
 * Commit to client at a low rate: one subscriber, 50 rows a second, against a bare LISTEN client that gets the row
 * in the payload of a NOTIFY from the same kind of trigger. Both ways see the same pace, turn by turn, in one run.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { createClient } from '../../client/node.js';
import { migrate } from '../../server/postgres/migrate.js';
import { startTestGateway } from '../support/gateway.js';
import { startEmbedded } from '../support/server.js';

const ROUNDS = 6;
const ROWS_PER_ROUND = 200;
const INTERVAL = 20;

const percentile = (sorted: readonly number[], p: number) => sorted[Math.floor((sorted.length - 1) * p)] ?? Number.NaN;

interface Way {
  readonly name: string;
  /** From sending COMMIT to the row being with the application of the subscriber, in milliseconds. */
  readonly samples: number[];
  /** The same, from the moment the writer has its answer. */
  readonly fromAcknowledgement: number[];
  write(): Promise<void>;
  commit(): Promise<unknown>;
}

async function round(
  { samples, fromAcknowledgement, write, commit }: Way,
  arrived: () => Promise<number>,
): Promise<void> {
  for (let row = 0; row < ROWS_PER_ROUND; row++) {
    const next = arrived();
    await write();
    const sent = performance.now();
    const acknowledged = commit().then(() => performance.now());
    const seen = await next;
    samples.push(seen - sent);
    fromAcknowledgement.push(seen - (await acknowledged));
    await delay(INTERVAL);
  }
}

/** Hands the moment of the next arrival to whoever waits for it. */
function bell() {
  let ring: (at: number) => void = () => {};
  return { ring: () => ring(performance.now()), next: () => new Promise<number>((resolve) => (ring = resolve)) };
}

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-bench-'));
const cluster = await startEmbedded({ dataDir });
await migrate(cluster.url, { with: ['executions'] });
const gateway = await startTestGateway(cluster.url);
const client = createClient({ url: gateway.url });
const writer = new pg.Client({ connectionString: cluster.url });
const bare = new pg.Client({ connectionString: cluster.url });
try {
  await writer.connect();
  await bare.connect();
  await writer.query(`
    CREATE TABLE bare (key text NOT NULL, event_type text NOT NULL, data jsonb, created_at timestamptz DEFAULT now());
    CREATE FUNCTION bare_notify() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pg_notify('bare', row_to_json(NEW)::text); RETURN NULL; END $$;
    CREATE TRIGGER bare_notify AFTER INSERT ON bare FOR EACH ROW EXECUTE FUNCTION bare_notify()`);
  const data = JSON.stringify({ step: 'read src/fields.py', note: 'x'.repeat(200) });

  const listenBell = bell();
  bare.on('notification', ({ payload }) => {
    JSON.parse(payload ?? '');
    listenBell.ring();
  });
  await bare.query('LISTEN bare');
  const rowcastBell = bell();
  await new Promise<void>((resolve) => {
    client.subscribe('message:bench', {
      onEvent: () => rowcastBell.ring(),
      onState: (state) => state === 'live' && resolve(),
    });
  });

  const insertBare = { name: 'bare', text: `INSERT INTO bare (key, event_type, data) VALUES ('bench', 'log', $1)` };
  const insert = {
    name: 'rowcast',
    text: `INSERT INTO rowcast.messages (key, event_type, data) VALUES ('bench', 'log', $1)`,
  };
  const way = (name: string, query: { name: string; text: string }): Way => ({
    name,
    samples: [],
    fromAcknowledgement: [],
    async write() {
      await writer.query('BEGIN');
      await writer.query({ ...query, values: [data] });
    },
    commit: () => writer.query('COMMIT'),
  });
  const listen = way('bare LISTEN', insertBare);
  const rowcast = way('rowcast', insert);
  for (let turn = 0; turn < ROUNDS; turn++) {
    await round(listen, listenBell.next);
    await round(rowcast, rowcastBell.next);
    if (turn > 0) continue;
    for (const { samples, fromAcknowledgement } of [listen, rowcast]) {
      samples.length = 0; // the first turn is the warm-up
      fromAcknowledgement.length = 0;
    }
  }
  const p50 = (samples: number[]) =>
    percentile(
      samples.sort((a, b) => a - b),
      0.5,
    );
  for (const { name, samples, fromAcknowledgement } of [listen, rowcast]) {
    const sorted = samples.sort((a, b) => a - b);
    const [median, p95, p99] = [0.5, 0.95, 0.99].map((p) => percentile(sorted, p).toFixed(3));
    const after = p50(fromAcknowledgement).toFixed(3);
    process.stdout.write(`${name.padEnd(12)} p50 ${median} ms  p95 ${p95} ms  p99 ${p99} ms`);
    process.stdout.write(`  (p50 from the writer's answer: ${after} ms)  n ${sorted.length}\n`);
  }
  const ratio = p50(rowcast.samples) / p50(listen.samples);
  process.stdout.write(`commit to client, ratio of the medians: ${ratio.toFixed(2)} (goal: at most 3)\n`);
} finally {
  client.close();
  await Promise.allSettled([writer.end(), bare.end()]);
  await gateway.stop();
  await cluster.stop();
  await rm(dataDir, { recursive: true });
}
