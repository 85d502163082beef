import pg from 'pg';
import { connectOptions } from '../postgres/connect-options.js';
import { readStreamColumns, streamTypes } from '../postgres/stream-types.js';
import type { Config } from '../settings/config.js';
import { databaseOf } from './database.js';
import { print } from './output.js';

/** `rowcast types`: prints the type of the streams of the database, for `createClient<Streams>()`. */
export async function printTypes(config: Config): Promise<void> {
  const client = new pg.Client({
    ...connectOptions(await databaseOf(config)),
    application_name: 'rowcast types',
  });
  await client.connect();
  try {
    print(streamTypes(await readStreamColumns(client)));
  } finally {
    await client.end();
  }
}
