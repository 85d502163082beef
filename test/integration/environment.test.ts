import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { examine } from '../../server/doctor/examine.js';
import { packageRoot } from '../../server/ground/package-root.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES } from '../support/gateway.js';
import { killAll, runRowcast } from '../support/process.js';
import { until } from '../support/until.js';

let folder: string;
let database: TestDatabase;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rowcast-environment-'));
  await chmod(folder, 0o755);
  database = await createDatabase();
});
afterAll(async () => {
  killAll();
  await database.drop();
  await rm(folder, { recursive: true });
});

describe('the embedded database, in a shell that is set up for another one', () => {
  test.each<Record<string, string>>([
    { PGSSLMODE: 'require', PGSSLROOTCERT: '/nowhere/ca.pem', PGSSLNEGOTIATION: 'direct', PGCHANNELBINDING: 'require' },
    {
      PGHOST: 'db.example',
      PGHOSTADDR: '192.0.2.1',
      PGPORT: '6543',
      PGDATABASE: 'other',
      PGUSER: 'ann',
      PGPASSWORD: 'x',
    },
    {
      PGOPTIONS: '-c search_path=other -c default_transaction_read_only=on',
      PGTZ: 'Asia/Kathmandu',
      PGDATESTYLE: 'SQL',
    },
    { PGDATA: '/nowhere', PGCLIENTENCODING: 'LATIN1', PGSERVICE: 'none', LC_ALL: 'xx_YY.UTF-8', TZ: 'Nowhere/Land' },
  ])(
    '%j: it starts, and the commands beside it find it',
    async (env) => {
      const dataDir = await mkdtemp(join(folder, 'data-'));
      await chmod(dataDir, 0o755);
      const settings = { ...env, ROWCAST_DATA_DIR: dataDir, ROWCAST_PORT: '0', ROWCAST_JWT_SECRET: 'Xq7Zk9'.repeat(6) };
      const up = runRowcast(['up', '--no-demo'], settings);
      await until(() => up.output().includes('listening on') || up.child.exitCode !== null, {
        deadlineMs: 30_000,
        what: 'it to start',
      });
      expect(up.output()).toContain('listening on');
      const migrated = runRowcast(['migrate'], settings);
      expect([await migrated.exited, migrated.output()]).toEqual([0, expect.stringContaining('up to date')]);
      const [, url] = /database (\S+)/.exec(up.output()) ?? [];
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      // I5: an account that may run programs there does not find our secrets, and no default was taken over.
      await client.query(`CREATE TEMP TABLE env (line text); COPY env FROM PROGRAM 'env'`);
      const { rows } = await client.query(
        `SELECT string_agg(line, ' ') AS env, current_setting('datestyle') AS datestyle FROM env`,
      );
      expect(rows[0]?.env).toContain('PATH=');
      expect(rows[0]?.env).not.toMatch(/Xq7Zk9|PGSSLMODE/);
      expect(rows[0]?.datestyle).toBe('ISO, MDY');
      await client.end();
      up.child.kill('SIGTERM');
      expect(await up.exited).toBe(0);
    },
    60_000,
  );
});

test('a Kubernetes Service called rowcast: it starts at the port of its settings', async () => {
  const links = {
    ROWCAST_SERVICE_HOST: '10.96.12.7',
    ROWCAST_SERVICE_PORT: '4400',
    ROWCAST_SERVICE_PORT_HTTP: '4400',
    ROWCAST_PORT_4400_TCP: 'tcp://10.96.12.7:4400',
    ROWCAST_PORT_4400_TCP_ADDR: '10.96.12.7',
  };
  const env = { DATABASE_URL: database.url, ...links, ROWCAST_PORT: '0', ROWCAST_WORKERS: '2' };
  const up = runRowcast(['up', '--no-demo'], env);
  await until(() => up.output().includes('listening on') || up.child.exitCode !== null, { what: 'it to start' });
  up.child.kill('SIGTERM');
  expect([await up.exited, up.errors()]).toEqual([0, expect.not.stringContaining('no such setting')]);
});

test.each(['LATIN1', 'SQL_ASCII', 'EUC_JP'])(
  'a database in %s is refused by migrate and by up, and doctor names it',
  async (encoding) => {
    const name = `in_${encoding.toLowerCase()}`;
    const admin = new pg.Client({ connectionString: database.url });
    await admin.connect();
    await admin.query(
      `CREATE DATABASE ${name} ENCODING '${encoding}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0`,
    );
    try {
      const url = new URL(`/${name}`, database.url).href;
      for (const command of [['migrate'], ['up', '--no-demo']]) {
        const { exited, errors } = runRowcast(command, { DATABASE_URL: url, ROWCAST_PORT: '0' });
        expect(await exited).toBe(1);
        expect(errors()).toMatch(
          /^rowcast: the encoding of the database must be UTF8, and is \w+: .*ENCODING 'UTF8'.*\n$/,
        );
      }
      const findings = await examine({
        databaseUrl: url,
        gatewayConnections: 1,
        longTransaction: 60,
        now: () => Date.now(),
      });
      expect(findings.find((finding) => finding.name === 'encoding')).toMatchObject({ verdict: 'fault' });
    } finally {
      await admin.query(`DROP DATABASE ${name} WITH (FORCE)`);
      await admin.end();
    }
  },
  30_000,
);

/** Node knows no limit elsewhere. */
const onLinux = process.platform === 'linux' ? test : test.skip;

onLinux(
  'I6: where few files may be open, clients leave room for the database, and the log says why they are dropped',
  async () => {
    const root = packageRoot();
    const program = `ulimit -n 256; exec "$0" --import ${join(root, 'node_modules/tsx/dist/loader.mjs')} ${join(root, 'server/main.ts')} up --no-demo`;
    const child = spawn('/bin/sh', ['-c', program, process.execPath], {
      env: {
        ...NO_RATES,
        PATH: process.env.PATH ?? '',
        TSX_TSCONFIG_PATH: join(root, 'tsconfig.json'),
        DATABASE_URL: database.url,
        ROWCAST_PORT: '0',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const sockets: Socket[] = [];
    try {
      let output = '';
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
      const [, port] = await until(() => /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(output), {
        what: 'it to start',
      });
      let ended = 0;
      for (let count = 0; count < 400; count += 1) {
        const socket = connect(Number(port), '127.0.0.1');
        socket.on('error', () => {}).on('close', () => (ended += 1));
        sockets.push(socket);
      }
      await until(() => ended > 100, { what: 'those without room to be dropped' });
      await until(() => output.includes('connections are dropped'), { what: 'the log to say so' });
      expect(output).toContain('ulimit -n');
      expect(output.split('connections are dropped')).toHaveLength(2);
      const admin = new pg.Client({ connectionString: database.url });
      await admin.connect();
      await admin.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'rowcast %' AND datname = current_database()`,
      );
      await admin.end();
      for (const session of ['tail', 'listener']) {
        const again = new RegExp(`"session":"${session}".*connected to the database again`);
        await until(() => again.test(output), { what: `the ${session} to be back` });
      }
    } finally {
      for (const socket of sockets) socket.destroy();
      child.kill('SIGTERM');
      await once(child, 'close');
    }
  },
  60_000,
);
