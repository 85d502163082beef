import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ConfigError, readConfig } from '../../server/settings/config.js';
import { parseDatabaseUrl, withoutPassword } from '../../server/settings/database-url.js';
import { seed } from '../property/seed.js';

const parameters = { seed: seed('database-url') };

/** What is said of a `DATABASE_URL`; null where it is taken. */
function fault(text: string): string | null {
  try {
    readConfig({ DATABASE_URL: text });
    return null;
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

describe('a DATABASE_URL that cannot be used is refused with the part that is wrong', () => {
  test.each([
    ['"postgres://app:S3cret@db/app"', 'quotes'],
    ["postgres://app:S3cret@db/app'", 'quotes'],
    ['DATABASE_URL=postgres://app:S3cret@db/app', 'its own name'],
    ["psql 'postgres://app:S3cret@db/app'", 'remove psql'],
    ['$DATABASE_URL', 'not replaced by its value'],
    ['host=db port=5432 password=S3cret', 'keywords; write it as a URL: postgres://'],
    ['mysql://app:S3cret@db/app', 'must begin with postgres://'],
    ['postgresql+asyncpg://app:S3cret@db/app', 'must begin with postgres://'],
    ['jdbc:postgresql://db/app?password=S3cret', 'JDBC'],
    ['app:S3cret@db/app', 'must begin with postgres://'],
    ['localhost:5432/app', 'must begin with postgres://'],
    ['postgres:app:S3cret@db/app', 'no // after the scheme'],
    ['postgres://app:S3cret@db1:5432,db2:5432/app', 'several hosts'],
    ['postgres://app:S3cret@/app?host=db1,db2', 'several hosts'],
    ['postgres://app:S3cret@/app', 'the host is missing'],
    ['postgres://app:S3cret@:5432/app', 'the host is missing'],
    ['postgres://app:S3cret@db:x/app', 'the port is not a number from 1 to 65535'],
    ['postgres://app:S3cret@db:65536/app', 'the port is not a number from 1 to 65535'],
    ['postgres://app:S3cret@db:0/app', 'the port is not a number from 1 to 65535'],
    ['postgres://app:S3cret/app', 'the port is not a number from 1 to 65535; if it is the password'],
    ['postgres://app:S3cret@::1:5432/app', 'brackets'],
    ['postgres://app:S3cret@the host/app', 'a space'],
    ['postgres://app:S3#cret@db/app', '"#" as %23'],
    ['postgres://app:12#cret@db/app', '"#" as %23'],
    ['postgres://app:S3/cret@db/app', '"/" as %2F'],
    ['postgres://app:12/cret@db/app', '"/" as %2F'],
    ['postgres://app:S3?cret@db/app', '"?" as %3F'],
    ['postgres://app:S3#/cret@db/app', '"#" as %23 and "/" as %2F'],
    ['postgres://app:S3cret@db/app#x', '"#" as %23'],
    ['postgres://app:S3%cret@db/app', 'the password holds a "%" that must be escaped'],
    ['postgres://a%pp:S3cret@db/app', 'the user name holds a "%" that must be escaped'],
    ['postgres://app:S3%E9cret@db/app', 'not UTF-8'],
    ['postgres://app:S3cret@db/app?sslmode=verify_full', 'sslmode must be one of disable, allow'],
  ])('%s', (text, message) => {
    const said = fault(text);
    expect(said).toMatch(/^DATABASE_URL: /);
    expect(said).toContain(message);
    expect(said?.split('\n')).toHaveLength(1);
    for (const secret of ['S3', 'cret']) expect(said).not.toContain(secret);
  });

  test('I5: whatever stands there, no part of it is repeated', () => {
    const noise = fc.string({ unit: fc.constantFrom(...'/?#@:%[], =&'), maxLength: 6 });
    const text = fc.tuple(noise, noise, noise).map(([a, b, c]) => `postgres://app${a}Xq7Zk9${b}db${c}/app`);
    fc.assert(
      fc.property(text, (url) => {
        expect(fault(url) ?? '').not.toContain('Xq7Zk9');
      }),
      parameters,
    );
  });
});

describe('a URL of every form is read as PostgreSQL reads it', () => {
  test.each([
    ['postgres://db/app', { host: 'db', database: 'app' }],
    [' POSTGRESQL://db/app\n', { host: 'db', database: 'app' }],
    ['postgres://ann@db', { host: 'db', user: 'ann' }],
    [
      'postgres://ann:p%40ss%2Fw%23%25@db:6543/a%20b',
      { host: 'db', port: 6543, user: 'ann', password: 'p@ss/w#%', database: 'a b' },
    ],
    ['postgres://ann:p@ss:word@db/app', { host: 'db', user: 'ann', password: 'p@ss:word', database: 'app' }],
    ['postgres://ann@[::1]:5433/app', { host: '::1', port: 5433, user: 'ann', database: 'app' }],
    ['postgres:///app', { database: 'app' }],
    ['postgres://%2Frun%2Fpostgresql/app', { host: '/run/postgresql', database: 'app' }],
    [
      'postgres://ann:x@/app?host=/cloudsql/a:b:c',
      { host: '/cloudsql/a:b:c', user: 'ann', password: 'x', database: 'app' },
    ],
    [
      'postgres:///app?host=db&port=1&user=ann&password=x',
      { host: 'db', port: 1, user: 'ann', password: 'x', database: 'app' },
    ],
    ['postgres://ann@db/app?application_name=a@b/c', { host: 'db', user: 'ann', database: 'app' }],
    ['postgres://db?application_name=a@b', { host: 'db' }],
  ])('%s', (text, expected) => {
    const { parameters: _, ...address } = parseDatabaseUrl(text);
    expect(JSON.parse(JSON.stringify(address))).toEqual(expected);
    expect(fault(text)).toBeNull();
  });

  test('every login comes back from a URL that escapes it', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1 });
    const login = fc.tuple(text, text);
    fc.assert(
      fc.property(login, ([user, password]) => {
        const url = `postgres://${encodeURIComponent(user)}:${encodeURIComponent(password)}@db:5432/app`;
        expect(parseDatabaseUrl(url)).toMatchObject({ user, password, host: 'db' });
        if (!'postgres://user:***@db:5432/app'.includes(encodeURIComponent(password))) {
          expect(withoutPassword(url)).not.toContain(`:${encodeURIComponent(password)}@`);
        }
      }),
      parameters,
    );
  });
});

test.each([
  ['postgres://ann:S3cret@db/app', 'postgres://ann:***@db/app'],
  ['postgres://ann:S3@cret@db/app', 'postgres://ann:***@db/app'],
  ['postgres://ann:S3cret@/app?host=/run', 'postgres://ann:***@/app?host=/run'],
  ['postgres://ann@db/app?password=S3cret&sslmode=require', 'postgres://ann@db/app?password=***&sslmode=require'],
  ['postgres://ann:S3cret@db/app?sslpassword=S3cret', 'postgres://ann:***@db/app?sslpassword=***'],
  ['postgres://ann@db/app?password=x&p%61ssword=S3cret', 'postgres://ann@db/app?password=***'],
  ['postgres://ann@db/app?sslmode=require', 'postgres://ann@db/app?sslmode=require'],
])('I5: of %s no password is printed', (url, shown) => {
  expect(withoutPassword(url)).toBe(shown);
});
