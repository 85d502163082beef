/**
 * 100,000 rows in one INSERT into one channel, against the same table without Rowcast: turn by turn, in one run, on the
 * embedded PostgreSQL with its default settings.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { migrate } from '../../server/postgres/migrate.js';
import { startEmbedded } from '../support/server.js';
import { newExecution } from '../support/writer.js';

const ROUNDS = 7;
const ROWS = 100_000;

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-bench-'));
const cluster = await startEmbedded({ dataDir, settings: { max_wal_size: '4GB' } });
const writer = new pg.Client({ connectionString: cluster.url });
try {
  await migrate(cluster.url, { with: ['executions'] });
  await writer.connect();
  await writer.query(`
    CREATE TABLE plain (LIKE agent_execution_logs INCLUDING ALL);
    ALTER TABLE plain DROP COLUMN seq, DROP COLUMN tx;
    ALTER TABLE plain ADD FOREIGN KEY (execution_id) REFERENCES agent_executions ON DELETE CASCADE`);
  const execution = await newExecution(writer);
  const time = async (table: string) => {
    const start = performance.now();
    await writer.query(
      `INSERT INTO ${table} (execution_id, message, context)
       SELECT $1, 'step ' || i, jsonb_build_object('step', i) FROM generate_series(1, ${ROWS}) i`,
      [execution],
    );
    return performance.now() - start;
  };
  const times = { plain: [] as number[], stream: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    times.plain.push(await time('plain'));
    times.stream.push(await time('agent_execution_logs'));
  }
  const median = (of: number[]) => of.sort((a, b) => a - b)[ROUNDS >> 1] ?? Number.NaN;
  const [plain, stream] = [median(times.plain), median(times.stream)];
  process.stdout.write(`PostgreSQL ${cluster.version}, ${ROWS} rows in one INSERT, medians of ${ROUNDS}\n`);
  process.stdout.write(`plain  ${plain.toFixed(0)} ms\nstream ${stream.toFixed(0)} ms\n`);
  process.stdout.write(`ratio of the medians: ${(stream / plain).toFixed(2)} (goal: at most 4)\n`);
} finally {
  await writer.end();
  await cluster.stop();
  await rm(dataDir, { recursive: true });
}
