import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { withFiles } from '../../server/cli/secret-files.js';
import { ConfigError, readConfig } from '../../server/settings/config.js';

const folder = mkdtempSync(join(tmpdir(), 'rowcast-secrets-'));
afterAll(() => rmSync(folder, { recursive: true }));

let written = 0;
function file(content: string): string {
  written += 1;
  const path = join(folder, `${written}`);
  writeFileSync(path, content);
  return path;
}

function fault(env: Record<string, string>): string {
  try {
    readConfig(withFiles(env));
    return '';
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

const SECRET = 'a secret with 32 characters or more, and a space ';

test('a secret may come from a file; the line break at its end is none of it', () => {
  const env = {
    DATABASE_URL_FILE: file('postgres://app:pass@db/app\n'),
    ROWCAST_JWT_SECRET_FILE: file(`${SECRET}\r\n`),
    ROWCAST_TOKEN_FILE: file('token'),
    ROWCAST_PORT: '0',
    HOME_FILE: '/nowhere',
  };
  const config = readConfig(withFiles(env));
  expect(config).toMatchObject({
    databaseUrl: 'postgres://app:pass@db/app',
    jwtSecret: SECRET,
    token: 'token',
    port: 0,
  });
  // As with any variable, an empty one counts as left out.
  expect(readConfig(withFiles({ ROWCAST_TOKEN_FILE: '', ROWCAST_TOKEN: 'token' })).token).toBe('token');
});

test('a file that cannot be used is named, and what stands in it is not', () => {
  const both = { ROWCAST_TOKEN: 'a', ROWCAST_TOKEN_FILE: file('b') };
  expect(fault(both)).toBe('ROWCAST_TOKEN_FILE: ROWCAST_TOKEN is set as well; set only one of them');
  expect(fault({ ROWCAST_TOKEN_FILE: join(folder, 'none') })).toMatch(
    /^ROWCAST_TOKEN_FILE: cannot read .*none: ENOENT/,
  );
  expect(fault({ ROWCAST_TOKEN_FILE: folder })).toMatch('EISDIR');
  expect(fault({ ROWCAST_TOKEN_FILE: file('\n') })).toMatch('it is empty');
  expect(fault({ ROWCAST_JWT_SECRET_FILE: file('hunter2') })).toBe(
    'ROWCAST_JWT_SECRET: must have at least 32 characters',
  );
  expect(fault({ ROWCAST_JWT_PUBLIC_KEY_FILE: file('hunter2') })).toBe(
    'ROWCAST_JWT_PUBLIC_KEY: must begin with -----BEGIN PUBLIC KEY-----',
  );
  expect(fault({ DATABASE_URL_FILE: file('hunter2') })).toMatch(/^DATABASE_URL: (?!.*hunter2)/);
  expect(fault({ ROWCAST_PORT_FILE: file('4400') })).toBe('ROWCAST_PORT_FILE: there is no such setting');
});
