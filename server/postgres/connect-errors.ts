/** Explains errors of connecting to the database in one line, and how to fix them. */
import pg from 'pg';
import { RAISE_OPEN_FILES } from '../ground/open-files.js';

const UNVERIFIED =
  'The certificate of the server is not verified by an authority that is known: name its certificate, sslmode=verify-full&sslrootcert=/path/to/ca.pem; or write sslmode=require, which encrypts without verifying.';
const UNREACHABLE = 'Correct host and port in DATABASE_URL, or see to the network in between.';

/** Fixes by SQLSTATE, or by the error code of the operating system or of TLS. */
const FIXES: Readonly<Record<string, string>> = {
  '28P01':
    'Put the right password into DATABASE_URL and start again, or into the file of DATABASE_URL_FILE, which is read for each new connection; or set it: ALTER ROLE … PASSWORD …',
  '28000':
    'Let the role in: ALTER ROLE … LOGIN, and a line for it in pg_hba.conf. If that says "no encryption", add sslmode=require to DATABASE_URL.',
  '3D000': 'Create the database, or name another one in DATABASE_URL.',
  '42501':
    'Grant the right that is missing: `npx rowcast doctor` says which; for the database itself, GRANT CONNECT ON DATABASE … TO …',
  '53300':
    'Raise the limit that it names (max_connections needs a restart of PostgreSQL; ALTER ROLE or ALTER DATABASE … CONNECTION LIMIT … does not), or end sessions that are not needed.',
  '57P03': 'PostgreSQL is starting or stopping: wait, and look at its log.',
  ECONNREFUSED: 'Start PostgreSQL there, or correct host and port in DATABASE_URL; see listen_addresses.',
  ENOTFOUND: 'Correct the host in DATABASE_URL.',
  EAI_AGAIN: 'Correct the host in DATABASE_URL, or see to name resolution.',
  ECONNRESET: 'What listens there ended the connection: is it PostgreSQL, and does it want sslmode=require?',
  ENOENT: 'Correct the folder of the socket in DATABASE_URL, or start PostgreSQL there.',
  ETIMEDOUT: UNREACHABLE,
  EHOSTUNREACH: UNREACHABLE,
  ENETUNREACH: UNREACHABLE,
  EMFILE: RAISE_OPEN_FILES,
  ENFILE: RAISE_OPEN_FILES,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNVERIFIED,
  SELF_SIGNED_CERT_IN_CHAIN: UNVERIFIED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNVERIFIED,
  UNABLE_TO_GET_ISSUER_CERT: UNVERIFIED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNVERIFIED,
  CERT_HAS_EXPIRED: 'Renew the certificate of the server; sslmode=require encrypts without verifying it.',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'Name the host in DATABASE_URL as its certificate does; or write sslmode=verify-ca with sslrootcert, which does not compare the name.',
};

/** Fixes for errors without a code, or with one that has many causes, by message. */
const FIXES_BY_TEXT: readonly (readonly [RegExp, string])[] = [
  [/not currently accepting connections/, 'Let sessions into the database: ALTER DATABASE … ALLOW_CONNECTIONS true.'],
  [/does not support SSL/, 'Write sslmode=disable in DATABASE_URL, or turn on ssl in PostgreSQL.'],
  [/timeout|timed out/i, 'See whether a firewall is in between, and whether PostgreSQL answers others.'],
];

/** Returns the first error, if an attempt was made for each address of a host. */
function firstOf(error: unknown): NodeJS.ErrnoException {
  const { errors: [first] = [error] } = Object(error) as { errors?: unknown[] };
  const { message } = Object(first) as Partial<Error>;
  return typeof message === 'string' ? (first as Error) : new Error(String(first));
}

/** Returns the message of PostgreSQL or of the operating system. */
export function messageOf(error: unknown): string {
  return firstOf(error).message;
}

/** Returns how to fix the error, or undefined if that is not known. */
export function fixOf(error: unknown): string | undefined {
  const { code = '', syscall, message } = firstOf(error);
  if (code === 'ENOENT' && syscall !== 'connect') return undefined; // a file that is not a socket
  return FIXES[code] ?? FIXES_BY_TEXT.find(([text]) => text.test(message))?.[1];
}

/** Returns the message without the names of roles, databases and hosts, for readers that must not see them. */
export function reasonOf(error: unknown): string {
  const first = firstOf(error);
  if (first instanceof pg.DatabaseError) return first.message.replace(/"[^"]*"/g, '…');
  return first.syscall === undefined ? first.message : `${first.syscall} ${first.code}`;
}
