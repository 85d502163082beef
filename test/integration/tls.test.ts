import { chmod, chown, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { mayPublish } from '../../server/cli/database.js';
import { fixOf, messageOf } from '../../server/postgres/connect-errors.js';
import { connectOptions } from '../../server/postgres/connect-options.js';
import { migrate } from '../../server/postgres/migrate.js';
import { AUTHORITY, OTHER_AUTHORITY, SERVER_CERTIFICATE, SERVER_KEY } from '../support/certificates.js';
import { testClient } from '../support/client.js';
import { follow } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { killAll, runRowcast } from '../support/process.js';
import { type EmbeddedPostgres, startEmbedded } from '../support/server.js';

let folder: string;
let server: EmbeddedPostgres;
/** The same server, by the name in its certificate. */
let byName: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rowcast-tls-'));
  await chmod(folder, 0o755);
  server = await startEmbedded({ dataDir: join(folder, 'data') });
  const cluster = join(server.dataDir, 'pgdata');
  const { uid, gid } = await stat(cluster);
  for (const [name, content] of Object.entries({ 'server.crt': SERVER_CERTIFICATE, 'server.key': SERVER_KEY })) {
    await writeFile(join(cluster, name), content, { mode: 0o600 });
    await chown(join(cluster, name), uid, gid);
  }
  await writeFile(join(folder, 'ca.pem'), AUTHORITY);
  await writeFile(join(folder, 'other.pem'), OTHER_AUTHORITY);
  await migrate(server.url);
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await client.query('ALTER SYSTEM SET ssl = on');
  await client.query('SELECT pg_reload_conf()');
  await client.end();
  byName = server.url.replace('127.0.0.1', 'localhost');
});
afterAll(async () => {
  killAll();
  await server.stop();
  await rm(folder, { recursive: true });
});

/** Whether the connection is encrypted; else the error. */
async function connecting(url: string): Promise<{ ssl: boolean } | { error: unknown }> {
  const client = new pg.Client(connectOptions(url, {}));
  try {
    await client.connect();
    const { rows } = await client.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
    return { ssl: rows[0]?.ssl };
  } catch (error) {
    return { error };
  } finally {
    await client.end();
  }
}

const root = (file: string) => `sslrootcert=${encodeURIComponent(join(folder, file))}`;

test.each([
  ['', false],
  ['?sslmode=disable', false],
  ['?sslmode=allow', false],
  ['?sslmode=prefer', true],
  ['?sslmode=require', true],
  ['?sslmode=no-verify', true],
])('I5: a certificate that nobody can verify: with %s it connects, encrypted: %s', async (query, ssl) => {
  expect(await connecting(server.url + query)).toEqual({ ssl });
});

test('I5: with the certificate of the authority the server is verified, and its name by verify-full alone', async () => {
  for (const mode of ['require', 'verify-ca']) {
    expect(await connecting(`${server.url}?sslmode=${mode}&${root('ca.pem')}`)).toEqual({ ssl: true });
    expect(await connecting(`${byName}?sslmode=${mode}&${root('other.pem')}`)).toHaveProperty('error');
  }
  expect(await connecting(`${byName}?sslmode=verify-full&${root('ca.pem')}`)).toEqual({ ssl: true });
});

test.each([
  ['verify-full with a public authority', () => `${byName}?sslmode=verify-full`, 'sslrootcert=/path'],
  ['another authority', () => `${byName}?sslmode=verify-full&${root('other.pem')}`, 'sslrootcert=/path'],
  ['another name', () => `${server.url}?sslmode=verify-full&${root('ca.pem')}`, 'sslmode=verify-ca'],
])('I5: %s is refused, with what to write instead', async (_, url, fix) => {
  const answer = await connecting(url());
  if (!('error' in answer)) throw new Error('it connected');
  expect(fixOf(answer.error)).toContain(fix);
  expect(messageOf(answer.error)).toMatch(/certificate|altname/i);
});

test('up starts with a certificate that no known authority has signed, as its sessions do', async () => {
  expect(await mayPublish(`${server.url}?sslmode=require`)).toBe(true);
});

test('a command says it in one line', async () => {
  const { exited, errors } = runRowcast(['migrate'], { DATABASE_URL: `${byName}?sslmode=verify-full` });
  expect(await exited).toBe(1);
  expect(errors()).toMatch(/^rowcast: .*certificate.*sslrootcert=.*\n$/);
});

test('events come over connections that are encrypted, all of them', async () => {
  const gateway = await startTestGateway(`${server.url}?sslmode=require`);
  const reader = follow(testClient({ url: gateway.url }), 'message:tls');
  await reader.live();
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await client.query(`SELECT rowcast.publish('message:tls', 'note', '{}')`);
  await reader.count(1);
  const { rows } = await client.query(
    `SELECT DISTINCT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name LIKE 'rowcast %'`,
  );
  expect(rows).toEqual([{ ssl: true }]);
  await client.end();
  await gateway.stop();
});
