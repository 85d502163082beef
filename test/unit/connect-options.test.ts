import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { makeLogger } from '../../server/ground/logger.js';
import { fixOf, messageOf, reasonOf } from '../../server/postgres/connect-errors.js';
import { connectOptions } from '../../server/postgres/connect-options.js';
import { ConnectionHealth } from '../../server/postgres/connection-health.js';

const folder = mkdtempSync(join(tmpdir(), 'rowcast-certs-'));
afterAll(() => rmSync(folder, { recursive: true }));
const ca = join(folder, 'ca.pem');
writeFileSync(ca, 'CA');

/** What TLS is asked for: not at all, or what is verified. */
function verified(query: string, env: Record<string, string> = {}): string {
  const { ssl } = connectOptions(`postgres://ann@db/app${query}`, env);
  if (ssl === false) return 'no TLS';
  if (typeof ssl !== 'object') throw new Error(`${ssl}`);
  if (ssl.rejectUnauthorized === false) return 'nothing';
  const by = ssl.ca === undefined ? 'public authorities' : String(ssl.ca);
  return ssl.checkServerIdentity === undefined ? `${by}, the name` : by;
}

test.each([
  ['postgres://ann@%2Fvar%2Frun%2Fpostgresql/app?sslmode=require', {}],
  ['postgres://ann@db/app?sslmode=verify-full&host=/var/run/postgresql', {}],
  ['postgres:///app', { PGHOST: '/var/run/postgresql', PGSSLMODE: 'require' }],
])('a Unix-domain socket is never encrypted, as in libpq: %s', (url, env) => {
  expect(connectOptions(url, env).ssl).toBe(false);
});

test.each([
  ['', 'no TLS'],
  ['?sslmode=disable', 'no TLS'],
  ['?sslmode=allow', 'no TLS'],
  ['?sslmode=prefer', 'nothing'],
  ['?sslmode=require', 'nothing'],
  ['?sslmode=no-verify', 'nothing'],
  ['?sslmode=verify-full', 'public authorities, the name'],
  [`?sslmode=prefer&sslrootcert=${ca}`, 'nothing'],
  [`?sslmode=require&sslrootcert=${ca}`, 'CA'],
  [`?sslmode=verify-ca&sslrootcert=${ca}`, 'CA'],
  [`?sslmode=verify-full&sslrootcert=${ca}`, 'CA, the name'],
  ['?sslmode=verify-full&sslrootcert=system', 'public authorities, the name'],
  [`?sslrootcert=${ca}`, 'CA, the name'],
  ['?ssl=true', 'public authorities, the name'],
  ['?sslmode=require&uselibpqcompat=true', 'nothing'],
])('I5: the URL with %s: the certificate is verified by %s', (query, expected) => {
  expect(verified(query)).toBe(expected);
});

test('PGSSLMODE and PGSSLROOTCERT mean the same, and the URL goes before them', () => {
  expect(verified('', { PGSSLMODE: 'require' })).toBe('nothing');
  expect(verified('', { PGSSLMODE: 'require', PGSSLROOTCERT: ca })).toBe('CA');
  expect(verified('?sslmode=disable', { PGSSLMODE: 'require' })).toBe('no TLS');
});

test('what cannot be used is said in one line', () => {
  expect(() => verified('?sslmode=verify-ca')).toThrow('sslmode=verify-ca needs sslrootcert');
  expect(() => verified('?sslmode=verify-full&sslrootcert=/nowhere/ca.pem')).toThrow(
    'the file of sslrootcert cannot be read',
  );
  expect(() => verified('', { PGSSLMODE: 'always' })).toThrow('PGSSLMODE must be one of disable');
});

test('a parameter of the URL is no option of the driver: sessions keep their names', () => {
  const url = 'postgres://ann@db/app?application_name=other&query_timeout=1&options=-c%20a.b%3D1';
  expect(connectOptions(url, {})).toEqual({
    user: 'ann',
    host: 'db',
    database: 'app',
    options: '-c a.b=1',
    ssl: false,
  });
});

const refused = (code: string, message: string) => Object.assign(new pg.DatabaseError(message, 0, 'error'), { code });
const system = (code: string, syscall: string) =>
  Object.assign(new Error(`${syscall} ${code} 10.1.2.3:5432`), { code, syscall });

test.each(
  [
    [
      refused('28P01', 'password authentication failed for user "ann"'),
      'password authentication failed for user …',
      'ALTER ROLE … PASSWORD',
    ],
    [
      refused('28000', 'role "ann" is not permitted to log in'),
      'role … is not permitted to log in',
      'ALTER ROLE … LOGIN',
    ],
    [refused('53300', 'too many connections for role "ann"'), 'too many connections for role …', 'CONNECTION LIMIT'],
    [refused('42501', 'permission denied for database "app"'), 'permission denied for database …', 'GRANT CONNECT'],
    [
      new AggregateError([system('ECONNREFUSED', 'connect'), system('ECONNREFUSED', 'connect')]),
      'connect ECONNREFUSED',
      'Start PostgreSQL',
    ],
    [system('EMFILE', 'connect'), 'connect EMFILE', 'ulimit -n'],
    [
      Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }),
      'self-signed certificate',
      'sslrootcert=',
    ],
    [
      new Error('The server does not support SSL connections'),
      'The server does not support SSL connections',
      'sslmode=disable',
    ],
    [new Error('timeout expired'), 'timeout expired', 'firewall'],
  ].map(([error, reason, fix]) => ({ error, reason, fix }) as { error: unknown; reason: string; fix: string }),
)('I5: $reason: told without names, and with what mends it', ({ error, reason, fix }) => {
  expect(reasonOf(error)).toBe(reason);
  expect(fixOf(error)).toContain(fix);
  expect(messageOf(error)).not.toBe('');
});

test('a reason is logged once until the connection stands again, and is told while it is tried', () => {
  const lines: { msg: string; session: string; fix?: string }[] = [];
  const time = { now: 0 };
  const health = new ConnectionHealth(
    makeLogger('info', (line) => lines.push(JSON.parse(line))),
    () => time.now,
  );
  const logged = () => lines.splice(0).map(({ session, msg }) => `${session}: ${msg}`);
  health.lost('tail', refused('57P01', 'terminating connection'));
  for (let attempt = 0; attempt < 10; attempt += 1)
    health.refused('tail', refused('28P01', 'password authentication failed'));
  health.refused('api', system('EMFILE', 'connect'));
  expect(health.reasons).toEqual({ tail: 'password authentication failed', api: 'connect EMFILE' });
  expect(lines.at(-1)?.fix).toContain('ulimit');
  expect(logged()).toEqual([
    'tail: the connection to the database was lost',
    'tail: cannot connect to the database',
    'api: cannot connect to the database',
  ]);
  health.connected('tail');
  health.connected('listener');
  expect([health.reasons, logged()]).toEqual([{ api: 'connect EMFILE' }, ['tail: connected to the database again']]);
  health.refused('tail', refused('28P01', 'password authentication failed'));
  expect(logged()).toEqual(['tail: cannot connect to the database']);
  time.now = 60_000; // nobody needs a connection of the API any more
  health.refused('tail', refused('53300', 'too many connections'));
  expect(health.reasons).toEqual({ tail: 'too many connections' });
});
