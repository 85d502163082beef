import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import pg from 'pg';
import {
  type EmbeddedOptions,
  type EmbeddedPostgres,
  runningUrl,
  startEmbedded,
} from '../../server/postgres/embedded.js';
import { isAlive } from '../../server/postgres/supervise.js';
import { until } from '../support/until.js';

let dataDir: string;
let started: EmbeddedPostgres[];

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'rowcast-embedded-'));
  await chmod(dataDir, 0o755);
  started = [];
});

afterEach(async () => {
  await Promise.all(started.map((server) => server.stop()));
  await rm(dataDir, { recursive: true });
});

async function start(options: Partial<EmbeddedOptions> = {}): Promise<EmbeddedPostgres> {
  const server = await startEmbedded({ dataDir, ...options });
  started.push(server);
  return server;
}

async function query(server: EmbeddedPostgres, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    return (await client.query({ text: sql, rowMode: 'array' })).rows.flat();
  } finally {
    await client.end();
  }
}

async function postmasterPid(): Promise<number> {
  return Number.parseInt(await readFile(join(dataDir, 'pgdata/postmaster.pid'), 'utf8'), 10);
}

test('a restart keeps the data and the port', async () => {
  const first = await start();
  await query(first, 'CREATE TABLE kept AS SELECT 42 AS answer');
  await first.stop();

  const second = await start();
  expect(second.url).toBe(first.url);
  expect(await query(second, 'TABLE kept')).toEqual([42]);
});

test('the server runs with UTF-8, the settings asked for, and the version it tells', async () => {
  const server = await start({ settings: { wal_level: 'logical', 'app.motto': "it's, fine" } });
  const settings = ['server_encoding', 'wal_level', 'app.motto', 'server_version', 'listen_addresses'];
  const shown = await query(server, settings.map((name) => `SELECT current_setting('${name}')`).join(' UNION ALL '));
  expect(shown).toEqual(['UTF8', 'logical', "it's, fine", server.version, '']);
});

test('another port is taken when another program listens on the last one, unless that one was asked for', async () => {
  const settings = { listen_addresses: '127.0.0.1' };
  const { port, stop } = await start({ settings });
  await stop();
  const squatter = createServer().listen(port, '127.0.0.1');
  await once(squatter, 'listening');

  await expect(start({ port, settings })).rejects.toThrow('Address already in use');
  expect((await start({ settings })).port).not.toBe(port);

  squatter.close();
});

test('no other account of the machine reaches it: a socket in a folder of mode 700, no TCP, and no secret in its environment', async () => {
  process.env.ROWCAST_TEST_SECRET = 'a secret of the gateway';
  const { url, port } = await start().finally(() => delete process.env.ROWCAST_TEST_SECRET);
  expect(new URL(url).host).toBe(`${encodeURIComponent(join(dataDir, 'pgdata'))}:${port}`);
  const socket = createConnection(port, '127.0.0.1');
  const refused = await new Promise((resolve) => socket.once('connect', resolve).once('error', resolve));
  expect(refused).toMatchObject({ code: 'ECONNREFUSED' });
  expect((await stat(join(dataDir, 'pgdata'))).mode & 0o777).toBe(0o700);
  expect(await readFile(`/proc/${await postmasterPid()}/environ`, 'utf8')).not.toContain('secret');
});

test('a path that is too long for a socket gets a short one, in a folder that belongs to this account', async () => {
  const server = await start({ dataDir: join(dataDir, 'x'.repeat(100)) });
  expect(await query(server, 'SELECT 1')).toEqual([1]);
  expect(await runningUrl(server.dataDir)).toBe(server.url);
});

test('a second start on the same directory names the server that is in the way', async () => {
  const server = await start();
  await expect(start()).rejects.toThrow(`PostgreSQL is already running in ${dataDir} (pid ${await postmasterPid()})`);
  expect(await query(server, 'SELECT 1')).toEqual([1]);
});

test('a server that cannot start says why', async () => {
  await expect(start({ settings: { shared_buffers: 'plenty' } })).rejects.toThrow(
    'invalid value for parameter "shared_buffers": "plenty"',
  );
});

test('a crashed postmaster can be started again at once', async () => {
  const server = await start();
  await query(server, 'CREATE TABLE kept AS SELECT 42 AS answer');
  server.kill('SIGKILL');
  await server.exited;
  expect(await query(await start(), 'TABLE kept')).toEqual([42]);
});

test('an initdb that was interrupted is forgotten', async () => {
  const abandoned = join(dataDir, 'pgdata.999999999');
  await mkdir(join(abandoned, 'base'), { recursive: true });
  await start();
  await expect(readFile(join(abandoned, 'base'))).rejects.toThrow('ENOENT');
});

test('the server runs below a directory that only root may enter', async () => {
  await mkdir(join(dataDir, 'private'), { mode: 0o700 });
  const server = await start({ dataDir: join(dataDir, 'private', 'x'.repeat(120)) });
  expect(await query(server, 'SELECT 1')).toEqual([1]);
});

test('killing this process with -9 takes the server along', async () => {
  const script = `
    import { startEmbedded } from './server/postgres/embedded.ts';
    await startEmbedded({ dataDir: process.argv[1] });
    console.log('ready');`;
  const owner = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(owner.stdout, 'data');
  const pid = await postmasterPid();
  expect(isAlive(pid)).toBe(true);

  owner.kill('SIGKILL');
  await until(() => !isAlive(pid), { what: 'the postmaster to end' });
});
