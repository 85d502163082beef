/** A value that could be written and never be read is refused when it is written, or read in part. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { ask, createExecution, createVenture, JWT_SECRET, tokenFor } from '../support/api.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startTestGateway } from '../support/gateway.js';
import { connectWriter } from '../support/writer.js';

const MIB = 1024 * 1024;

let database: TestDatabase;
let writer: pg.Client;
let execution: string;
beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  execution = await createExecution(writer, await createVenture(writer, 'ann'));
});
afterAll(async () => {
  await writer.end();
  await database.drop();
});

const text = (mib: number) => `repeat('x', ${mib * MIB})`;
const json = (mib: number) => `jsonb_build_object('text', ${text(mib)})`;
const logged = (column: string, value: string) =>
  `INSERT INTO agent_execution_logs (execution_id, ${column}) SELECT '${execution}', ${value}`;

test.each([
  ['metadata_within_16_mib', (mib: number) => `UPDATE agent_executions SET metadata = ${json(mib)}`, 15, 17],
  ['context_within_64_mib', (mib: number) => logged('context', json(mib)), 63, 65],
])('%s', async (constraint, statement, fits, tooMuch) => {
  await writer.query(statement(fits));
  await expect(writer.query(statement(tooMuch))).rejects.toMatchObject({ code: '23514', constraint });
});

test('a message that no response can carry is written, and read as its beginning', async () => {
  await writer.query(logged('message', `repeat(chr(1), 90 * ${MIB})`)); // 540 MiB as JSON
  const gateway = await startTestGateway(database.url, { ROWCAST_JWT_SECRET: JWT_SECRET });
  try {
    const token = await tokenFor('ann');
    const get = (path: string) => ask(gateway, `/api/agents/executions/${execution}${path}`, token);
    for (const path of ['', '?state=1', '/logs?q=nothing'])
      expect([path, (await get(path)).status]).toEqual([path, 200]);
    const { status, body } = await get('/logs');
    expect(status).toBe(200);
    expect(body.logs.map(({ message }: { message: string | null }) => message?.length ?? 0)).toContain(1_000);
  } finally {
    await gateway.stop();
  }
});

test('a value counts as it is, also where it comes compressed from another table', async () => {
  await writer.query(`CREATE TABLE source AS SELECT ${json(80)} AS value`);
  const { rows } = await writer.query('SELECT pg_column_size(value) < 2 * 1024 * 1024 AS small FROM source');
  expect(rows).toEqual([{ small: true }]);
  await expect(writer.query(`${logged('context', 'value')} FROM source`)).rejects.toMatchObject({
    constraint: 'context_within_64_mib',
  });
});

test('a number counts with all its digits: few bytes of jsonb are text that no response can carry', async () => {
  const digits = (numbers: number) => `(SELECT jsonb_agg('1e131071'::jsonb) FROM generate_series(1, ${numbers}))`;
  const { rows } = await writer.query(`SELECT pg_column_size(ROW(${digits(130)})) < 4096 AS small`);
  expect(rows).toEqual([{ small: true }]);
  for (const [column, constraint, numbers] of [
    ['metadata', 'metadata_within_16_mib', 130],
    ['context', 'context_within_64_mib', 520],
  ] as const) {
    const value = digits(numbers);
    const written = column === 'context' ? logged(column, value) : `UPDATE agent_executions SET ${column} = ${value}`;
    await expect(writer.query(written)).rejects.toMatchObject({ code: '23514', constraint });
  }
});
