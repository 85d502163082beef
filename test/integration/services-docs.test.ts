import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { packageRoot } from '../../server/ground/package-root.js';
import { isTransient } from '../../server/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { runScript } from '../support/process.js';
import { connectWriter } from '../support/writer.js';

const page = readFileSync(join(packageRoot(), 'docs/reference/services.md'), 'utf8');
const blocks = [...page.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language, text = '']) => ({
  language,
  text,
}));
const [service = '', retry = '', broadcaster = ''] = blocks
  .filter(({ language }) => language === 'js')
  .map(({ text }) => text);
const [printed = ''] = blocks.filter(({ language }) => language === '').map(({ text }) => text);

let database: TestDatabase;
let writer: pg.Client;
beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  await writer.query(`INSERT INTO ventures VALUES ('00000000-0000-4000-8000-000000000001', 'Demo')`);
});
afterAll(async () => {
  await writer.end();
  await database.drop();
});

const run = async (script: string, ...args: string[]) => {
  const { exited, output, errors } = await runScript(script, args, { DATABASE_URL: database.url, ROWCAST_PORT: '0' });
  expect([await exited, errors()]).toEqual([0, '']);
  return output();
};

test('the examples of the page about services run and print what it says', async () => {
  expect(await run(service)).toBe(printed);
  const { rows } = await writer.query<{ id: string }>('SELECT execution_id AS id FROM agent_executions');
  expect((await run(broadcaster, rows[0]?.id ?? '')).trim().split('\n').slice(-3)).toEqual([
    '12 task-completed',
    '13 execution-completed',
    '100 % completed',
  ]);
});

test('what the page says about errors of your own', () => {
  const own = Function('isTransient', 'AgentExecutionService', 'database', `${retry} return retry;`);
  const policy = own(isTransient, class {}, null) as { isTransient(error: unknown): boolean };
  expect(policy.isTransient(Object.assign(new Error('slow down'), { status: 429 }))).toBe(true);
  expect(policy.isTransient(Object.assign(new Error('gone'), { status: 410 }))).toBe(false);
});
