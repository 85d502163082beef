/**
 * Reads `DATABASE_URL`. A text that is no usable URL is refused with the name of the part that is wrong and how to write
 * it. The message never quotes the text: in a malformed URL any part of it can be the password.
 */

const EXAMPLE = 'postgres://user:password@host:5432/database';

/** As PostgreSQL's own programs take them. `no-verify` is that of node-postgres. */
export const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'no-verify', 'verify-ca', 'verify-full'] as const;
export type SslMode = (typeof SSL_MODES)[number];

/**
 * The URL of the database, or a function that returns it with the current password, which is called for every new connection.
 * Everything but the password must stay the same, because all connections of a gateway lead to one database.
 */
export type DatabaseUrl = string | (() => string);

/** What a URL says; a part that it leaves out is undefined. */
export interface DatabaseAddress {
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string | undefined;
  /** Everything after the `?`. */
  readonly parameters: ReadonlyMap<string, string>;
}

export const textOf = (databaseUrl: DatabaseUrl): string =>
  typeof databaseUrl === 'string' ? databaseUrl : databaseUrl();

/** Parts that may also be given after the `?`, where they take precedence. */
const PARTS = ['host', 'port', 'user', 'password'] as const;

/** Throws `Error` with what is wrong. */
export function parseDatabaseUrl(text: string): DatabaseAddress {
  const [, authority = '', path = '', query = ''] = split(text.trim());
  const at = authority.lastIndexOf('@');
  const [user = '', ...rest] = authority.slice(0, Math.max(at, 0)).split(':');
  const parameters = new Map(new URLSearchParams(query));
  const given = {
    user: decoded(user, 'user name'),
    password: decoded(rest.join(':'), 'password'),
    ...hostAndPort(authority.slice(at + 1), at >= 0),
  };
  const { host, port, ...login } = { ...given, ...onlyParts(parameters) };
  if (host.includes(',') || port.includes(',')) {
    throw new Error('names several hosts; write one: that of the primary, or of a proxy that leads to it');
  }
  if (at >= 0 && host === '') throw new Error(`the host is missing between @ and /; write ${EXAMPLE}`);
  if (port !== '' && !(/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535)) {
    // Without an @ it may be the password, cut off at a character that was not escaped.
    const escapes =
      at >= 0 ? '' : '; if it is the password: write "#" as %23, "/" as %2F, "?" as %3F and "@" as %40 in it';
    throw new Error(`the port is not a number from 1 to 65535${escapes}`);
  }
  const sslMode = parameters.get('sslmode');
  if (sslMode !== undefined && !SSL_MODES.some((mode) => mode === sslMode)) {
    throw new Error(`sslmode must be one of ${SSL_MODES.join(', ')}`);
  }
  return {
    host: host || undefined,
    port: port === '' ? undefined : Number(port),
    user: login.user || undefined,
    password: login.password || undefined,
    database: decoded(path.slice(1), 'name of the database') || undefined,
    parameters,
  };
}

/** Authority, path and query. Throws where the text does not have the form of a PostgreSQL URL. */
function split(text: string): readonly string[] {
  const fault = faultOfForm(text);
  if (fault !== null) throw new Error(fault);
  const start = text.indexOf('://') + 3;
  const unescaped = unescapedIn(text.slice(start));
  if (unescaped.length > 0) {
    const list = unescaped.map((character) => `"${character}" as ${encodeURIComponent(character)}`).join(' and ');
    throw new Error(
      `the user name, the password or the database holds a character that must be escaped: write ${list}`,
    );
  }
  return /^([^/?]*)([^?]*)(?:\?(.*))?$/s.exec(text.slice(start)) ?? [];
}

/** What stands in front of `://`, or in its place. */
function faultOfForm(text: string): string | null {
  if (/^psql\s/.test(text)) return 'is a command: remove psql, and the quotes around the URL';
  if (/^["'`]|["'`]$/.test(text)) return 'has quotes around it: remove them';
  if (/^DATABASE_URL\s*=/i.test(text)) return 'begins with its own name: remove DATABASE_URL=';
  if (/^\$/.test(text)) return 'is the name of a variable that was not replaced by its value';
  if (/^\w+\s*=/.test(text)) return `is a list of keywords; write it as a URL: ${EXAMPLE}`;
  const [, scheme, slashes] = /^([a-z][a-z0-9+.-]*):(\/\/)?/i.exec(text) ?? [];
  if (/^postgres(ql)?$/i.test(scheme ?? '')) {
    return slashes === undefined ? `has no // after the scheme; write ${EXAMPLE}` : null;
  }
  if (/^jdbc:/i.test(text)) return `is a JDBC URL; write ${EXAMPLE}`;
  if (slashes !== undefined) return `begins with ${scheme}://; it must begin with postgres://`;
  return `must begin with postgres://; write ${EXAMPLE}`;
}

/**
 * Characters that end the authority although the user name or the password goes on, as an `@` shows that comes after
 * them; and `#`, which never has a place in a database URL.
 */
function unescapedIn(rest: string): string[] {
  const query = rest.search(/\?\w+=/);
  const beforeQuery = query < 0 ? rest : rest.slice(0, query);
  const login = beforeQuery.slice(0, beforeQuery.lastIndexOf('@') + 1);
  const found = new Set(login.match(/[/?#\s]/g));
  if (rest.includes('#')) found.add('#');
  return [...found];
}

function hostAndPort(text: string, hasLogin: boolean): { host: string; port: string } {
  const [, ipv6, ipv6Port = ''] = /^\[([^\]]*)\](?::(.*))?$/.exec(text) ?? [];
  if (ipv6 !== undefined) return { host: ipv6, port: ipv6Port };
  const [host = '', port = '', ...more] = text.split(':');
  if (more.length > 0 && !text.includes(',')) {
    throw new Error(
      hasLogin ? 'an IPv6 address needs brackets: [::1]' : `the @ in front of the host is missing; write ${EXAMPLE}`,
    );
  }
  if (/\s/.test(host)) throw new Error('the host holds a space');
  return { host: decoded(host, 'host'), port: text.includes(',') ? text : port };
}

function decoded(text: string, part: string): string {
  if (/%(?![0-9a-f]{2})/i.test(text)) throw new Error(`the ${part} holds a "%" that must be escaped: write it as %25`);
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error(`the ${part} holds an escape that is not UTF-8: write é as %C3%A9, and "%" as %25`);
  }
}

function onlyParts(parameters: ReadonlyMap<string, string>): Partial<Record<(typeof PARTS)[number], string>> {
  return Object.fromEntries(PARTS.flatMap((part) => (parameters.has(part) ? [[part, parameters.get(part)]] : [])));
}

/** The URL without its passwords: what is printed ends up in logs. */
export function withoutPassword(databaseUrl: string): string {
  const { password } = parseDatabaseUrl(databaseUrl);
  const hidden = password === undefined ? databaseUrl : databaseUrl.replace(/(:\/\/[^:/?]*:)[^/?]*(?=@)/, '$1***');
  const [address = '', query] = hidden.split(/\?(.*)/s);
  const shown = new URLSearchParams(query);
  const secret = ['password', 'sslpassword'].filter((name) => shown.has(name));
  for (const name of secret) shown.set(name, '***');
  return secret.length === 0 ? hidden : `${address}?${shown}`;
}
