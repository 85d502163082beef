import pg from 'pg';
import { removeClientVariables } from '../postgres/client-variables.js';
import { connectOptions } from '../postgres/connect-options.js';
import { runningUrl } from '../postgres/embedded.js';
import { type MigrateOptions, migrate } from '../postgres/migrate.js';
import { type UninstallOptions, uninstall } from '../postgres/uninstall.js';
import type { Config } from '../settings/config.js';
import { print } from './output.js';

/** Returns the URL of the database: DATABASE_URL, or the embedded database of a running `rowcast up`. Rejects if there is neither. */
export async function databaseOf({ databaseUrl, dataDir }: Config): Promise<string> {
  if (databaseUrl !== undefined) return databaseUrl;
  const url = await runningUrl(dataDir);
  if (url !== null) {
    removeClientVariables();
    return url;
  }
  throw new Error(`no database: set DATABASE_URL, or start \`rowcast up\`, which runs one in ${dataDir}`);
}

/** `rowcast migrate` */
export async function runMigrations(options: MigrateOptions, config: Config): Promise<void> {
  const ran = await migrate(await databaseOf(config), options);
  print(ran.length === 0 ? 'nothing to do: the database is up to date' : `ran ${ran.join(', ')}`);
}

/** `rowcast uninstall`. Returns false if it was not confirmed, so that nothing was removed. */
export async function runUninstall(options: UninstallOptions, config: Config): Promise<boolean> {
  const { confirmed = false } = options;
  if (confirmed && config.databaseUrl === undefined) {
    // It runs in a gateway, and every table in it was made for an evaluation.
    throw new Error(`the embedded database is removed by deleting ${config.dataDir}, after \`rowcast up\` has ended`);
  }
  const removed = await uninstall(await databaseOf(config), options);
  print(confirmed ? 'removed:' : 'this would be removed:', ...removed.map((line) => `  ${line}`));
  if (!confirmed) print('', 'Nothing was changed. To remove it, run this again with --yes.');
  return confirmed;
}

/** Whether the login may publish messages: as a service, or as the owner of the table. */
export async function mayPublish(databaseUrl: string): Promise<boolean> {
  const client = new pg.Client({ ...connectOptions(databaseUrl), application_name: 'rowcast up' });
  await client.connect();
  try {
    const { rows } = await client.query<{ may: boolean }>(
      `SELECT pg_has_role('service_role', 'USAGE') OR pg_has_role(c.relowner, 'USAGE') AS may
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'rowcast' AND c.relname = 'messages'`,
    );
    return rows[0]?.may ?? false;
  } finally {
    await client.end();
  }
}

/** The options of `rowcast attach`. */
export interface AttachOptions {
  readonly key: string;
  readonly name?: string;
  readonly seq?: string;
  readonly tx?: string;
}

/** `rowcast attach` */
export async function attach(relation: string, options: AttachOptions, config: Config): Promise<void> {
  const client = new pg.Client({
    ...connectOptions(await databaseOf(config)),
    application_name: 'rowcast attach',
  });
  client.on('notice', ({ message, detail }) => print([message, detail].filter(Boolean).join('\n')));
  await client.connect();
  try {
    const { key, name, seq, tx } = options;
    const { rows } = await client.query<{ stream: string }>(
      'SELECT rowcast.attach($1::regclass, $2, $3, $4, $5) AS stream',
      [relation, key, name ?? null, seq ?? null, tx ?? null],
    );
    print(`${relation} is the stream ${rows[0]?.stream}: every INSERT is an event of ${rows[0]?.stream}:<${key}>`);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    throw new Error([error.message, error.hint].filter(Boolean).join('\n'), { cause: error });
  } finally {
    await client.end();
  }
}
