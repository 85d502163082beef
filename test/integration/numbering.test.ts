import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { seqs } from '../support/follow.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution, newVenture, processId } from '../support/writer.js';

describe.each(clusters())('seq on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let writer: pg.Client;
  let other: pg.Client;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    writer = await connectWriter(database.url);
    other = await connectWriter(database.url);
  });
  afterAll(async () => {
    await writer.end();
    await other.end();
    await database.drop();
  });

  async function seqsOf(execution: string): Promise<number[]> {
    const { rows } = await writer.query<{ seq: string }>(
      'SELECT seq FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq',
      [execution],
    );
    return rows.map(({ seq }) => Number(seq));
  }

  async function floorOf(key: string): Promise<number> {
    const { rows } = await writer.query<{ floor: string }>('SELECT floor FROM rowcast.channels WHERE key = $1', [key]);
    return Number(rows[0]?.floor);
  }

  test('I8: a statement takes as long for each of its rows, though its plan was made when the table had one', async () => {
    const rows = 4_000;
    await writer.query(`CREATE TABLE grown (id text NOT NULL); SELECT rowcast.attach('grown', 'id')`);
    // So that the trigger functions of this session have their plans.
    await writer.query(`INSERT INTO grown SELECT 'a' FROM generate_series(1, 3); DELETE FROM grown WHERE seq = 1`);
    await writer.query('VACUUM ANALYZE grown');
    await writer.query('BEGIN');
    await writer.query(`INSERT INTO grown SELECT 'a' FROM generate_series(1, ${rows})`);
    const { rows: read } = await writer.query(
      `SELECT seq_tup_read + idx_tup_fetch < ${3 * rows} AS few FROM pg_stat_xact_user_tables WHERE relname = 'grown'`,
    );
    await writer.query('COMMIT');
    expect(read).toEqual([{ few: true }]);
    const before = fairNow();
    await writer.query(`DELETE FROM grown WHERE seq <= ${rows}`);
    expect(fairNow() - before).toBeLessThan(2_000);
    await writer.query(`SELECT rowcast.detach('grown'); DROP TABLE grown`);
  });

  test('I2: one row, many rows and many channels in a statement are numbered without a gap', async () => {
    const executions = [await newExecution(writer), await newExecution(writer), await newExecution(writer)];
    await log(writer, executions[0] ?? '');
    await log(writer, executions[0] ?? '', 500);
    await writer.query(
      `INSERT INTO agent_execution_logs (execution_id, message)
       SELECT e, 'mixed' FROM generate_series(1, 100), unnest($1::uuid[]) e`,
      [executions],
    );
    expect(await seqsOf(executions[0] ?? '')).toEqual(seqs(1, 601));
    expect(await seqsOf(executions[1] ?? '')).toEqual(seqs(1, 100));
    expect(await seqsOf(executions[2] ?? '')).toEqual(seqs(1, 100));
  });

  test('I2: COPY numbers like INSERT', async () => {
    const execution = await newExecution(writer);
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-copy-'));
    await chmod(folder, 0o755);
    const file = join(folder, 'rows.csv');
    await writeFile(
      file,
      seqs(1, 1000)
        .map((step) => `${execution},step ${step}\n`)
        .join(''),
    );
    await writer.query(`COPY agent_execution_logs (execution_id, message) FROM '${file}' WITH (FORMAT csv)`);
    await rm(folder, { recursive: true });
    expect(await seqsOf(execution)).toEqual(seqs(1, 1000));
  });

  test('I2: rollbacks, savepoints and conflicts leave no gap', async () => {
    const execution = await newExecution(writer);
    await log(writer, execution, 3);
    await writer.query('BEGIN');
    await log(writer, execution, 5);
    await writer.query('ROLLBACK');
    await writer.query('BEGIN');
    await log(writer, execution);
    await writer.query('SAVEPOINT s');
    await log(writer, execution, 7);
    await writer.query('ROLLBACK TO s');
    await log(writer, execution);
    await writer.query('COMMIT');
    const { rows } = await writer.query<{ log_id: string }>('SELECT log_id FROM agent_execution_logs LIMIT 1');
    await writer.query(
      'INSERT INTO agent_execution_logs (log_id, execution_id) VALUES ($1, $2) ON CONFLICT DO NOTHING',
      [rows[0]?.log_id, execution],
    );
    await log(writer, execution);
    expect(await seqsOf(execution)).toEqual(seqs(1, 6));
  });

  test('I1: writers of one channel number in commit order; the second waits for the first', async () => {
    const execution = await newExecution(writer);
    await log(writer, execution, 1, 'before');
    await writer.query('BEGIN');
    await log(writer, execution, 1, 'first');
    const second = log(other, execution, 1, 'second');
    await until(
      async () =>
        (await writer.query(`SELECT 1 FROM pg_locks WHERE pid = $1 AND NOT granted`, [processId(other)])).rowCount,
      { what: 'the second writer to wait' },
    );
    await writer.query('COMMIT');
    await second;
    const { rows } = await writer.query<{ message: string }>(
      'SELECT message FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq',
      [execution],
    );
    expect(rows.map(({ message }) => message)).toEqual(['before 1', 'first 1', 'second 1']);
  });

  test('I8: writers of different channels, and updates of the parent, do not wait for each other', async () => {
    const [one, two] = [await newExecution(writer), await newExecution(writer)];
    await writer.query('BEGIN');
    await log(writer, one);
    await other.query(`SET lock_timeout = '2s'`);
    await log(other, two);
    await other.query(`UPDATE agent_executions SET metadata = '{}' WHERE execution_id = $1`, [one]);
    await writer.query('COMMIT');
    expect(await seqsOf(two)).toEqual([1]);
  });

  test('I8: one transaction may write to more channels than the lock table has room for', async () => {
    await writer.query(
      `INSERT INTO rowcast.messages (key, event_type) SELECT 'many ' || i, 'log' FROM generate_series(1, 40000) i`,
    );
    const { rows } = await writer.query(`SELECT count(*)::int AS n FROM rowcast.messages WHERE seq = 1`);
    expect(rows[0]).toEqual({ n: 40000 });
  });

  test.each(['REPEATABLE READ', 'SERIALIZABLE'])(
    '%s writers of one channel get 40001 to retry, never a wrong number',
    async (isolation) => {
      const execution = await newExecution(writer);
      await log(writer, execution);
      await writer.query(`BEGIN ISOLATION LEVEL ${isolation}`);
      await writer.query('SELECT 1 FROM ventures LIMIT 1');
      await other.query(`BEGIN ISOLATION LEVEL ${isolation}`);
      await log(other, execution);
      await other.query('COMMIT');
      await expect(log(writer, execution)).rejects.toMatchObject({ code: '40001' });
      await writer.query('ROLLBACK');
      await writer.query(`BEGIN ISOLATION LEVEL ${isolation}`);
      await log(writer, execution, 2);
      await log(writer, execution);
      await writer.query('COMMIT');
      expect(await seqsOf(execution)).toEqual(seqs(1, 5));
    },
  );

  test('what the writer may see does not change a number', async () => {
    const execution = await newExecution(writer);
    await log(writer, execution, 2);
    await writer.query(`
      CREATE ROLE blind_${process.pid};
      GRANT INSERT ON agent_execution_logs TO blind_${process.pid};
      ALTER TABLE agent_execution_logs ENABLE ROW LEVEL SECURITY;
      CREATE POLICY write ON agent_execution_logs FOR INSERT WITH CHECK (true);
      SET ROLE blind_${process.pid}`);
    await writer.query(`INSERT INTO agent_execution_logs (execution_id, seq, tx) VALUES ($1, 99, '3')`, [execution]);
    await writer.query(`RESET ROLE; ALTER TABLE agent_execution_logs DISABLE ROW LEVEL SECURITY;
      DROP OWNED BY blind_${process.pid}; DROP ROLE blind_${process.pid}`);
    expect(await seqsOf(execution)).toEqual([1, 2, 3]);
  });

  test('an event cannot be renumbered, or moved to another channel', async () => {
    const [one, two] = [await newExecution(writer), await newExecution(writer)];
    await log(writer, one);
    for (const change of ['seq = 9', `tx = '9'`, `execution_id = '${two}'`]) {
      const update = writer.query(`UPDATE agent_execution_logs SET ${change} WHERE execution_id = $1`, [one]);
      await expect(update).rejects.toMatchObject({ code: '23001' });
    }
    await writer.query(`UPDATE agent_execution_logs SET message = 'corrected' WHERE execution_id = $1`, [one]);
  });

  test('a channel that was emptied goes on counting, and its floor says from where', async () => {
    const execution = await newExecution(writer);
    await log(writer, execution, 5);
    await writer.query('DELETE FROM agent_execution_logs WHERE execution_id = $1 AND seq <= 2', [execution]);
    expect(await floorOf(execution)).toBe(3);
    await writer.query('DELETE FROM agent_execution_logs WHERE execution_id = $1', [execution]);
    expect(await floorOf(execution)).toBe(6);
    await log(writer, execution, 2);
    expect(await seqsOf(execution)).toEqual([6, 7]);
  });

  test('a statement that would give a deleted number to another event is refused', async () => {
    const execution = await newExecution(writer);
    await log(writer, execution, 3);
    const replace = writer.query(
      `WITH gone AS (DELETE FROM agent_execution_logs WHERE execution_id = $1 AND seq = 3 RETURNING message)
       INSERT INTO agent_execution_logs (execution_id, message) SELECT $1, message FROM gone`,
      [execution],
    );
    await expect(replace).rejects.toMatchObject({ code: '0A000' });
    expect(await seqsOf(execution)).toEqual([1, 2, 3]);
  });

  test('truncating a stream begins a new epoch', async () => {
    const epoch = async () =>
      (await writer.query(`SELECT epoch FROM rowcast.streams WHERE name = 'message'`)).rows[0]?.epoch;
    const before = await epoch();
    await writer.query(`SELECT rowcast.publish('message:a', 'log')`);
    await writer.query('TRUNCATE rowcast.messages');
    expect(await epoch()).not.toBe(before);
    const { rows } = await writer.query(`SELECT rowcast.publish('message:a', 'log') AS seq`);
    expect(rows[0]).toEqual({ seq: '1' });
  });

  test('I2: 100,000 rows in one INSERT are numbered, in time that grows with their number and no faster', async () => {
    const execution = await newExecution(writer);
    const time = async (rows: number) => {
      const start = performance.now();
      await log(writer, execution, rows);
      return performance.now() - start;
    };
    const few = Math.min(await time(10_000), await time(10_000));
    // A guard against a cost that is quadratic, as that of a counter row which each insert updates. What it costs
    // against a plain insert is measured by bench:insert.
    expect((await time(100_000)) / few).toBeLessThan(50);
    expect(await seqsOf(execution)).toEqual(seqs(1, 120_000));
  }, 60_000);

  test('status, stage and metrics tell their story in the log of the execution, and in the audit', async () => {
    const venture = await newVenture(writer);
    const execution = await newExecution(writer, venture);
    const set = (change: string) =>
      writer.query(`UPDATE agent_executions SET ${change} WHERE execution_id = $1`, [execution]);
    await set(`status = 'running', stage_number = 1`);
    await writer.query(
      `INSERT INTO execution_metrics (execution_id, metric_name, metric_value) VALUES ($1, 'tokens', 12.5)`,
      [execution],
    );
    await set(`status = 'paused'`);
    await set(`status = 'running'`);
    await set(`metadata = '{"a":1}'`);
    await set(`status = 'failed', stage_number = 2`);
    const { rows } = await writer.query(
      'SELECT event_type, log_level, stage_number, message FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq',
      [execution],
    );
    const info = { log_level: 'info' };
    expect(rows).toEqual([
      { ...info, event_type: 'stage-changed', stage_number: 1, message: 'stage 1' },
      { ...info, event_type: 'execution-started', stage_number: 1, message: 'execution is running' },
      { ...info, event_type: 'metrics-update', stage_number: 1, message: 'tokens = 12.5' },
      { ...info, event_type: 'execution-paused', stage_number: 1, message: 'execution is paused' },
      { ...info, event_type: 'execution-resumed', stage_number: 1, message: 'execution is running' },
      { ...info, event_type: 'stage-changed', stage_number: 2, message: 'stage 2' },
      { event_type: 'execution-failed', log_level: 'error', stage_number: 2, message: 'execution is failed' },
    ]);
    const audit = await writer.query(
      'SELECT event_type, actor, from_status, to_status FROM execution_audit WHERE venture_id = $1 ORDER BY seq',
      [venture],
    );
    expect(audit.rows).toEqual([
      { event_type: 'created', actor: 'postgres', from_status: null, to_status: 'pending' },
      { event_type: 'status-changed', actor: 'postgres', from_status: 'pending', to_status: 'running' },
      { event_type: 'status-changed', actor: 'postgres', from_status: 'running', to_status: 'paused' },
      { event_type: 'status-changed', actor: 'postgres', from_status: 'paused', to_status: 'running' },
      { event_type: 'status-changed', actor: 'postgres', from_status: 'running', to_status: 'failed' },
    ]);
    await writer.query(`SET request.jwt.claims = '{"sub":"\\u0000"}'`); // no reason to fail
    await set(`status = 'running'`);
    await writer.query('RESET request.jwt.claims');
    await expect(writer.query('DELETE FROM execution_audit')).rejects.toMatchObject({ code: '23001' });
  });
});
