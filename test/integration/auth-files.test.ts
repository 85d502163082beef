import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { connectWith } from '../support/doors.js';
import { signWith } from '../support/issuer.js';
import { killAll, runRowcast, startGatewayProcess } from '../support/process.js';

const SECRET = 'a secret of at least thirty-two characters';

let database: TestDatabase;
let folder: string;
beforeAll(async () => {
  database = await createDatabase();
  folder = await mkdtemp(join(tmpdir(), 'rowcast-secrets-'));
});
afterAll(async () => {
  killAll();
  await rm(folder, { recursive: true });
  await database.drop();
});

async function file(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, `${content}\n`, { mode: 0o600 });
  return path;
}

test('I5: secrets from files hold in every worker, and in what asks the gateway, and are in no log', async () => {
  const token = await signWith(Buffer.from(SECRET), { alg: 'HS256' })({ role: 'service_role' });
  const gateway = await startGatewayProcess(database.url, {
    DATABASE_URL: '',
    DATABASE_URL_FILE: await file('database', database.url),
    ROWCAST_JWT_SECRET_FILE: await file('secret', SECRET),
    ROWCAST_WORKERS: '2',
    ROWCAST_LOG_LEVEL: 'trace',
  });
  const attempts = Array.from({ length: 8 }, (_, n) => connectWith(gateway.url, n < 4 ? { token } : {}));
  expect(await Promise.all(attempts)).toEqual([...Array(4).fill('in'), ...Array(4).fill('4501 unauthorized')]);
  const env = { ROWCAST_TOKEN_FILE: await file('token', token) };
  const listed = runRowcast(['channels', '--url', gateway.url], env);
  expect([await listed.exited, listed.errors()]).toEqual([0, '']);
  await gateway.stop();
  expect(gateway.errors()).toContain('gateway started');
  expect(gateway.errors()).not.toMatch(new RegExp(`${SECRET}|${token}`));
}, 60_000);
