/**
 * What a tracked table costs its writers, against the same table without Rowcast, and against one whose changes are decoded from
 * the write-ahead log meanwhile: UPDATE of one row by 16 connections, with 1,000 channels and with one for all, and UPDATE of 10,000
 * rows in one statement. Turn by turn, in one run, on the embedded PostgreSQL, with one follower on a gateway of its own process.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { follow } from '../../client/follow/index.js';
import { createClient } from '../../client/node.js';
import { startEmbedded } from '../../server/postgres/embedded.js';
import { migrate } from '../../server/postgres/migrate.js';
import { NO_RATES } from '../support/gateway.js';
import { startGatewayProcess } from '../support/process.js';

const CONNECTIONS = 16;
const ROWS = 20_000;
const BULK = 10_000;
const ROUNDS = Number(process.env.ROUNDS ?? 5);
const SECONDS = Number(process.env.SECONDS ?? 4);
const TABLES = ['plain', 'decoded', 'keyed', 'for_all'] as const;
type Table = (typeof TABLES)[number];

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-bench-'));
const cluster = await startEmbedded({ dataDir, settings: { max_wal_size: '4GB', wal_level: 'logical' } });
const clients = Array.from({ length: CONNECTIONS }, () => new pg.Client({ connectionString: cluster.url }));
const [admin] = clients as [pg.Client];
const median = (of: number[]) => of.sort((a, b) => a - b)[of.length >> 1] ?? Number.NaN;

/** Commits per second of all connections. Statements are prepared, and the first second does not count. */
async function commits(table: Table): Promise<number> {
  let counted = 0;
  const began = performance.now();
  const starts = began + 1_000;
  const ends = starts + SECONDS * 1_000;
  await Promise.all(
    clients.map(async (client) => {
      const text = `UPDATE ${table} SET status = $2 WHERE id = $1`;
      for (let now = began; now < ends; now = performance.now()) {
        const values = [1 + Math.floor(Math.random() * ROWS), `s${now}`];
        await client.query({ name: table, text, values });
        if (now >= starts) counted++;
      }
    }),
  );
  return counted / SECONDS;
}

/** As a reader with wal2json does, with the plugin that PostgreSQL has. */
async function decoded<T>(work: () => Promise<T>): Promise<T> {
  const reader = new pg.Client({ connectionString: cluster.url });
  await reader.connect();
  await reader.query("SELECT pg_create_logical_replication_slot('bench', 'test_decoding')");
  let done = false;
  const reading = (async () => {
    while (!done) {
      await reader.query("SELECT count(*) FROM pg_logical_slot_get_changes('bench', NULL, NULL)");
      await delay(20);
    }
  })();
  try {
    return await work();
  } finally {
    done = true;
    await reading;
    await reader.query("SELECT pg_drop_replication_slot('bench')");
    await reader.end();
  }
}

async function bulk(table: Table, round: number): Promise<number> {
  const start = performance.now();
  await admin.query(`UPDATE ${table} SET status = 'bulk ${round}' WHERE id <= ${BULK}`);
  return performance.now() - start;
}

try {
  await migrate(cluster.url);
  await Promise.all(clients.map((client) => client.connect()));
  for (const table of TABLES) {
    await admin.query(`
      CREATE TABLE ${table} (id bigint PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, amount numeric NOT NULL,
        note text, updated_at timestamptz NOT NULL DEFAULT now());
      CREATE INDEX ON ${table} (customer_id);
      INSERT INTO ${table} SELECT i, i % 1000, 'placed', i, 'the note of order ' || i FROM generate_series(1, ${ROWS}) i`);
    await admin.query(`VACUUM ANALYZE ${table}`);
  }
  await admin.query("SELECT rowcast.track('keyed', key => 'customer_id'), rowcast.track('for_all')");
  const gateway = await startGatewayProcess(cluster.url, NO_RATES);
  const client = createClient({ url: gateway.url });
  const follower = follow(client, 'keyed:7');
  const rates: Record<Table, number[]> = { plain: [], decoded: [], keyed: [], for_all: [] };
  const times: Record<Table, number[]> = { plain: [], decoded: [], keyed: [], for_all: [] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const table of TABLES) {
      const measured = async () => [await commits(table), await bulk(table, round)] as const;
      const [rate, time] = await (table === 'decoded' ? decoded(measured) : measured());
      rates[table].push(rate);
      times[table].push(time);
    }
  }
  process.stdout.write(`PostgreSQL ${cluster.version}, ${CONNECTIONS} connections, medians of ${ROUNDS}\n`);
  const plain = { rate: median(rates.plain), time: median(times.plain) };
  for (const table of TABLES) {
    const [rate, time] = [median(rates[table]), median(times[table])];
    const share = `${(rate / plain.rate).toFixed(2)} of plain`;
    process.stdout.write(
      `${table.padEnd(8)} ${rate.toFixed(0).padStart(6)} commits/s (${share}), ${BULK} rows ${time.toFixed(0)} ms (${(time / plain.time).toFixed(1)} times plain)\n`,
    );
  }
  follower.close();
  client.close();
  await gateway.stop();
} finally {
  await Promise.all(clients.map((client) => client.end()));
  await cluster.stop();
  await rm(dataDir, { recursive: true });
}
