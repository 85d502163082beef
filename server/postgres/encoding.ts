import type { ClientBase } from 'pg';

/**
 * Rejects unless the encoding of the database is UTF8. With another encoding the name of a channel may contain characters that
 * the database cannot represent, and SQL_ASCII accepts bytes that are not valid text.
 */
export async function requireUtf8(client: Pick<ClientBase, 'query'>): Promise<void> {
  const { rows } = await client.query<{ encoding: string; name: string }>(
    `SELECT current_setting('server_encoding') AS encoding, quote_ident(current_database()) AS name`,
  );
  const [{ encoding, name } = { encoding: '', name: '' }] = rows;
  if (encoding !== 'UTF8')
    throw new Error(`the encoding of the database must be UTF8, and is ${encoding}: ${moving(name)}`);
}

/** Explains how to move to a UTF8 database. */
export function moving(name: string): string {
  return `make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and move the data there: pg_dump ${name} | psql …`;
}
