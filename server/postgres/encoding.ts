import type { ClientBase } from 'pg';

/**
 * Rejects unless the database is UTF8. In another encoding a channel or an event may hold characters that the database cannot, and
 * SQL_ASCII takes bytes that are no text at all.
 */
export async function requireUtf8(client: Pick<ClientBase, 'query'>): Promise<void> {
  const { rows } = await client.query<{ encoding: string; name: string }>(
    `SELECT current_setting('server_encoding') AS encoding, quote_ident(current_database()) AS name`,
  );
  const [{ encoding, name } = { encoding: '', name: '' }] = rows;
  if (encoding !== 'UTF8')
    throw new Error(`the encoding of the database must be UTF8, and is ${encoding}: ${moving(name)}`);
}

/** How to get one. */
export function moving(name: string): string {
  return `make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and move the data there: pg_dump ${name} | psql …`;
}
