import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { type Gateway, startGateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/ground/logger.js';
import { migrate } from '../../server/postgres/migrate.js';
import { readConfig } from '../../server/settings/config.js';
import { poll } from '../support/poll.js';
import { killAll, runRowcast, startGatewayProcess } from '../support/process.js';
import { type EmbeddedPostgres, startEmbedded } from '../support/server.js';
import { until } from '../support/until.js';

interface Line {
  readonly msg: string;
  readonly session?: string;
  readonly fix?: string;
  readonly err?: { message: string };
}

let folder: string;
let server: EmbeddedPostgres;
let admin: pg.Client;
let gateway: Gateway;
let url: string;
const lines: Line[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rowcast-refused-'));
  await chmod(folder, 0o755);
  server = await startEmbedded({ dataDir: join(folder, 'data') });
  const hba = join(server.dataDir, 'pgdata/pg_hba.conf');
  // Asked for its password; the others are trusted.
  await writeFile(hba, `host all gateway 127.0.0.1/32 scram-sha-256\n${await readFile(hba, 'utf8')}`);
  admin = new pg.Client({ connectionString: server.url });
  await admin.connect();
  await admin.query('SELECT pg_reload_conf()');
  await admin.query('CREATE DATABASE app');
  await migrate(new URL('/app', server.url).href);
  await admin.query(`CREATE ROLE gateway LOGIN PASSWORD 'S3cret'; GRANT rowcast_gateway TO gateway`);
  url = server.url.replace('postgres@', 'gateway:S3cret@').replace(/postgres$/, 'app');
  const config = readConfig({ ROWCAST_PORT: '0', ROWCAST_PRUNE_INTERVAL: '3600000' });
  const logger = makeLogger('info', (line) => lines.push(JSON.parse(line) as Line));
  gateway = await startGateway(config, url, logger);
});
afterAll(async () => {
  killAll();
  await gateway.stop();
  await admin.end();
  await server.stop();
  await rm(folder, { recursive: true });
});

async function ready(): Promise<{ status: string; connections?: Record<string, string> }> {
  return (await fetch(`${gateway.url}/readyz`)).json() as Promise<{ status: string }>;
}

/** The status of what needs the pools. */
async function read(): Promise<number[]> {
  const answers = [
    await poll(gateway.url, [[`message:${randomUUID()}`, 'start']], 0),
    await fetch(`${gateway.url}/v1/channels`),
  ];
  return answers.map(({ status }) => status);
}

const endSessions = () =>
  admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'`);

const REFUSALS: Readonly<Record<string, readonly [change: string, undo: string, reason: RegExp, fix: RegExp]>> = {
  'another password': [
    `ALTER ROLE gateway PASSWORD 'other'`,
    `ALTER ROLE gateway PASSWORD 'S3cret'`,
    /password authentication failed/,
    /ALTER ROLE … PASSWORD/,
  ],
  'no LOGIN': [
    'ALTER ROLE gateway NOLOGIN',
    'ALTER ROLE gateway LOGIN',
    /not permitted to log in/,
    /ALTER ROLE … LOGIN/,
  ],
  'a limit of the role': [
    'ALTER ROLE gateway CONNECTION LIMIT 0',
    'ALTER ROLE gateway CONNECTION LIMIT -1',
    /too many connections for role/,
    /CONNECTION LIMIT/,
  ],
  'a limit of the database': [
    'ALTER DATABASE app CONNECTION LIMIT 0',
    'ALTER DATABASE app CONNECTION LIMIT -1',
    /too many connections for database/,
    /CONNECTION LIMIT/,
  ],
  'a database that takes no connections': [
    'ALTER DATABASE app ALLOW_CONNECTIONS false',
    'ALTER DATABASE app ALLOW_CONNECTIONS true',
    /not currently accepting connections/,
    /ALLOW_CONNECTIONS true/,
  ],
  'no CONNECT': [
    'REVOKE CONNECT ON DATABASE app FROM PUBLIC',
    'GRANT CONNECT ON DATABASE app TO PUBLIC',
    /permission denied for database/,
    /GRANT CONNECT/,
  ],
  'a role that may not be taken': [
    'REVOKE rowcast_gateway FROM gateway',
    'GRANT rowcast_gateway TO gateway',
    /permission denied to set role/,
    /Grant the right that is missing: `npx rowcast doctor`/,
  ],
};

test.each(Object.entries(REFUSALS))(
  'I5: %s: the log and readyz say why, with what mends it, and it comes back',
  async (name, [change, undo, reason, fix]) => {
    lines.length = 0;
    await admin.query(change);
    try {
      await endSessions();
      // LISTEN needs no role.
      const sessions = name === 'a role that may not be taken' ? ['tail'] : ['tail', 'listener'];
      const reported = await until(
        async () => {
          const { connections = {} } = await ready();
          return sessions.every((session) => reason.test(connections[session] ?? '')) && connections;
        },
        { what: 'readyz to say why' },
      );
      expect((await ready()).status).toBe('not ready');
      // No reader is told that it may not read, and nothing is taken for a fault of the gateway.
      expect(await read()).toEqual([503, 503]);
      expect(lines.filter(({ msg }) => /could not be decided|failed/.test(msg))).toEqual([]);
      expect(JSON.stringify(reported)).not.toMatch(/S3cret|gateway|"app/);
      for (const session of sessions) {
        const said = lines.filter((line) => line.session === session && reason.test(line.err?.message ?? ''));
        expect(said.map(({ msg }) => msg)).toEqual(['cannot connect to the database']); // once, however often it tries
        expect(said[0]?.fix).toMatch(fix);
      }
      expect(JSON.stringify(lines)).not.toContain('S3cret');
    } finally {
      await admin.query(undo);
    }
    await until(async () => (await ready()).status === 'ready', { what: 'it to be ready again' });
    expect(await read()).toEqual([200, 200]);
    await until(async () => (await ready()).connections === undefined, { what: 'nothing to be amiss' });
  },
);

test.each(Object.entries(REFUSALS))(
  '%s: a command that cannot connect says it in one line',
  async (name, refusal) => {
    const [change, undo, reason, fix] = refusal;
    await admin.query(change);
    try {
      const { exited, errors } = runRowcast(['up', '--no-demo'], {
        DATABASE_URL: url,
        ROWCAST_PORT: '0',
        ROWCAST_LOG_LEVEL: 'silent',
      });
      expect(await exited).toBe(1);
      expect(errors()).toMatch(/^rowcast: .+\n$/);
      // Without the role it does not even come to taking it.
      expect(errors()).toMatch(name === 'a role that may not be taken' ? /permission denied for schema/ : reason);
      expect(errors()).toMatch(fix);
    } finally {
      await admin.query(undo);
    }
  },
  30_000,
);

test('I5: a password that is rotated in its file is used by every new connection, of each worker', async () => {
  const file = join(folder, 'url');
  await writeFile(file, url);
  const rotated = await startGatewayProcess('', { DATABASE_URL_FILE: file, ROWCAST_WORKERS: '2' });
  const statuses = async () => {
    const paths = ['/readyz', '/readyz', '/readyz', '/v1/channels', '/v1/channels', '/v1/channels'];
    const answers = await Promise.all(
      paths.map((path) => fetch(`${rotated.url}${path}`, { headers: { connection: 'close' } })),
    );
    return [...new Set(answers.map(({ status }) => status))];
  };
  await admin.query(`ALTER ROLE gateway PASSWORD 'Rot4ted'`);
  try {
    await endSessions();
    await until(async () => (await statuses()).join() === '503', { what: 'the old password to be refused' });
    for (const unusable of [
      '',
      'postgres://gateway:Rot4',
      url.replace(/app$/, 'postgres').replace('S3cret', 'Rot4ted'),
    ]) {
      await writeFile(file, unusable);
      expect(await statuses()).toEqual([503]);
    }
    await writeFile(file, `${url.replace('S3cret', 'Rot4ted')}\n`);
    await until(async () => (await statuses()).join() === '200', { what: 'the new password to be used' });
    await rotated.stop();
    expect(rotated.errors()).toMatch(/password authentication failed/);
    expect(rotated.errors()).not.toMatch(/S3cret|Rot4ted/);
  } finally {
    await admin.query(`ALTER ROLE gateway PASSWORD 'S3cret'`);
  }
}, 30_000);

test('I5: no room for a pool: the tail goes on, the reader is told to come back, and the log says why', async () => {
  await until(async () => (await ready()).status === 'ready', { what: 'it to be ready' });
  const left = async () => {
    const { rows } = await admin.query(
      `SELECT application_name, pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'gateway' AND application_name NOT IN ('rowcast tail', 'rowcast listener')`,
    );
    return rows.length;
  };
  await until(async () => (await left()) === 0, { what: 'the sessions of the pools to end' });
  lines.length = 0;
  await admin.query('ALTER ROLE gateway CONNECTION LIMIT 2');
  try {
    expect(await read()).toEqual([503, 503]);
    const { status, connections } = await ready();
    expect(status).toBe('ready');
    const reason = 'too many connections for role …';
    expect(connections).toEqual({ pages: reason, access: reason });
    expect(lines.map(({ err }) => err?.message)).toContain('too many connections for role "gateway"');
  } finally {
    await admin.query('ALTER ROLE gateway CONNECTION LIMIT -1');
  }
});
