import pg from 'pg';
import { z } from 'zod';
import type { DatabaseUrl } from '../settings/database-url.js';
import { connectOptions } from './connect-options.js';
import { CONNECT_TIMEOUT } from './session.js';

const extension = z.object({
  name: z.string(),
  /** The schema of its tables, as SQL writes its name. */
  schema: z.string(),
  /** Tables of the application that it uses unchanged. */
  adopted: z.array(z.string()),
});
export type InstalledExtension = Readonly<z.output<typeof extension>>;

/** Without this table no extension is installed: the database was not migrated. */
const IS_THERE = `SELECT to_regclass('rowcast.extensions') IS NOT NULL AS there`;
const INSTALLED =
  'SELECT name, quote_ident(schema) AS schema, adopted FROM rowcast.extensions ORDER BY installed_at, name';

/** Reads the installed extensions on an existing connection. */
export async function readInstalled(client: Pick<pg.ClientBase, 'query'>): Promise<InstalledExtension[]> {
  const { rows } = await client.query<{ there: boolean }>(IS_THERE);
  if (!rows[0]?.there) return [];
  return z.array(extension).parse((await client.query(INSTALLED)).rows);
}

/** Reads the extensions that are installed in a database. Rejects with the error of the driver. */
export async function installedExtensions(databaseUrl: DatabaseUrl): Promise<InstalledExtension[]> {
  const client = new pg.Client({
    ...connectOptions(databaseUrl),
    application_name: 'rowcast extensions',
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    query_timeout: CONNECT_TIMEOUT,
  });
  client.on('error', () => {}); // the pending query rejects as well
  await client.connect();
  try {
    return await readInstalled(client);
  } finally {
    await client.end();
  }
}
