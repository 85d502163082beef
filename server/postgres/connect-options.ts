/**
 * The connection options of every connection of this package, made from the database URL. `sslmode` has the meaning that it
 * has in PostgreSQL's own programs. The driver could parse the URL itself, but it treats `require`, `prefer` and `verify-ca`
 * as `verify-full`, and lets parameters of the URL override options that this package relies on, such as `application_name`.
 */
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import type pg from 'pg';
import {
  type DatabaseAddress,
  type DatabaseUrl,
  parseDatabaseUrl,
  SSL_MODES,
  type SslMode,
  textOf,
} from '../settings/database-url.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** As in libpq, a parameter of the URL takes precedence over the variable. */
const VARIABLES = {
  sslmode: 'PGSSLMODE',
  sslrootcert: 'PGSSLROOTCERT',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
} as const;

/** Throws `Error` if the URL is not valid, or a file that it names cannot be read. */
export function connectOptions(databaseUrl: DatabaseUrl, env: Environment = process.env): pg.ClientConfig {
  const { parameters, ...address } = parseDatabaseUrl(textOf(databaseUrl));
  const { password } = address;
  const given = {
    ...address,
    // Pools and the listener keep these options. The driver calls the function for each connection that it opens.
    password:
      password && typeof databaseUrl !== 'string' ? () => parseDatabaseUrl(databaseUrl()).password ?? '' : password,
    options: parameters.get('options'),
    sslnegotiation: parameters.get('sslnegotiation'),
  };
  const known = Object.entries(given).filter(([, value]) => value !== undefined);
  // A Unix-domain socket is never encrypted: libpq ignores `sslmode` there, and the server refuses the request.
  const socket = /^[/@]/.test(address.host ?? env.PGHOST ?? '');
  return { ...Object.fromEntries(known), ssl: socket ? false : sslOptions(parameters, env) };
}

function sslOptions(parameters: DatabaseAddress['parameters'], env: Environment): false | ConnectionOptions {
  const given = (name: keyof typeof VARIABLES) => parameters.get(name) || env[VARIABLES[name]] || undefined;
  const mode = modeOf(given('sslmode'), parameters);
  if (mode === 'disable' || mode === 'allow') return false;
  const root = given('sslrootcert');
  const files = {
    // `system` means the authorities that Node trusts, as does no file.
    ca: root === 'system' ? undefined : contentOf(root, 'sslrootcert'),
    cert: contentOf(given('sslcert'), 'sslcert'),
    key: contentOf(given('sslkey'), 'sslkey'),
    passphrase: parameters.get('sslpassword'),
  };
  const options = Object.fromEntries(Object.entries(files).filter(([, value]) => value !== undefined));
  if (mode === 'verify-full') return options;
  const verified = files.ca !== undefined && mode !== 'no-verify' && mode !== 'prefer';
  if (verified) return { ...options, checkServerIdentity: () => undefined };
  if (mode === 'verify-ca') {
    throw new Error(
      'sslmode=verify-ca needs sslrootcert, a file with the certificate of the authority; or write verify-full',
    );
  }
  return { ...options, rejectUnauthorized: false };
}

/** A URL that requests TLS in another way, such as `ssl=true` of JDBC, gets the mode with full verification. */
function modeOf(mode: string | undefined, parameters: DatabaseAddress['parameters']): SslMode {
  if (mode === undefined) {
    const files = ['sslrootcert', 'sslcert', 'sslkey'].some((name) => parameters.has(name));
    const ssl = /^(true|1)$/.test(parameters.get('ssl') ?? '') || parameters.get('sslnegotiation') === 'direct';
    return ssl || files ? 'verify-full' : 'disable';
  }
  const known = SSL_MODES.find((each) => each === mode);
  if (known === undefined) throw new Error(`PGSSLMODE must be one of ${SSL_MODES.join(', ')}`);
  return known;
}

function contentOf(path: string | undefined, parameter: string): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(`the file of ${parameter} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}
