import pg from 'pg';
import { inSchema } from '../ground/in-schema.js';
import { changeInstallation, runScript } from './installation.js';
import { CORE, extensionSets, requiredBy, uninstallOf } from './sql-sets.js';

export interface UninstallOptions {
  /** Removes these extensions only. Default: all extensions and the core. */
  readonly with?: readonly string[];
  /** Also drops tables of extensions that contain rows. */
  readonly dropData?: boolean;
  /** Required to remove anything. Without it the changes are rolled back. */
  readonly confirmed?: boolean;
}

interface Extension {
  readonly name: string;
  readonly schema: string;
  readonly made_schema: boolean;
}

const INSTALLED =
  'SELECT name, quote_ident(schema) AS schema, made_schema FROM rowcast.extensions ORDER BY installed_at DESC, name DESC';

/** The lock timeout, in milliseconds. It is short, because writers queue behind the lock. */
const LOCK_TIMEOUT = 5_000;

/**
 * Removes Rowcast from a database, which is then as it was before the installation. Returns the list of removed objects. If it is
 * not `confirmed`, everything is removed and rolled back, so that the list is exact. Rejects if an object is in use, or a
 * gateway is connected.
 */
export async function uninstall(databaseUrl: string, options: UninstallOptions = {}): Promise<string[]> {
  const { with: wanted, dropData = false, confirmed = false } = options;
  return changeInstallation(databaseUrl, async (client) => {
    const removed: string[] = [];
    client.on('notice', ({ severity, message }) => {
      if (severity === 'INFO' && message !== undefined) removed.push(message);
    });
    const { rowCount: there } = await client.query(`SELECT WHERE to_regclass('rowcast.extensions') IS NOT NULL`);
    if (!there) throw new Error('Rowcast is not installed in this database');
    if (confirmed) await refuseGateways(client);
    await client.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT}`);
    await client.query(`SELECT set_config('rowcast.drop_data', $1, true)`, [dropData ? 'on' : 'off']);
    const installed = (await client.query<Extension>(INSTALLED)).rows;
    const missing = (wanted ?? []).filter((name) => !installed.some((extension) => extension.name === name));
    if (missing.length > 0) throw new Error(`not installed: ${missing.join(', ')}`);
    const removing = installed.filter(({ name }) => wanted === undefined || wanted.includes(name));
    const foreign = removing.filter(({ name }) => !extensionSets().includes(name)).map(({ name }) => name);
    if (foreign.length > 0) {
      throw new Error(`this version of Rowcast cannot remove ${foreign.join(', ')}: use the version that installed it`);
    }
    const kept = installed.filter((extension) => !removing.includes(extension));
    const dependent = kept.find(({ name }) => removing.some((extension) => extension.name === requiredBy(name)));
    if (dependent !== undefined) {
      throw new Error(
        `${dependent.name} requires ${requiredBy(dependent.name)}: remove it as well, --with ${dependent.name}`,
      );
    }
    for (const extension of installed) {
      if (wanted === undefined || wanted.includes(extension.name)) {
        removed.push(...(await removeExtension(client, extension)));
      }
    }
    if (wanted === undefined) await runScript(client, `${CORE}/uninstall.sql`, uninstallOf(CORE));
    return { result: removed, keep: confirmed };
  });
}

/** A running gateway would fail at each step, and go on trying. */
async function refuseGateways(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE application_name = 'rowcast listener' AND datname = current_database()`,
  );
  if (rows.length === 0) return;
  const sessions = rows.map(({ pid }) => pid).join(', ');
  throw new Error(
    `a gateway is connected to this database (sessions: ${sessions}): stop every gateway, then try again`,
  );
}

/** Returns the objects that it has removed in addition to those that the script of the set reports. */
async function removeExtension(client: pg.Client, { name, schema, made_schema }: Extension): Promise<string[]> {
  const { rows: granted } = await client.query<{ privilege: string; object: string; grantee: string }>(
    `SELECT privilege, object, grantee FROM rowcast.granted
      WHERE migration LIKE $1 AND object LIKE 'SCHEMA %' AND grantee <> 'rowcast_gateway'`,
    [`${name}/%`],
  );
  // Before the script, which may drop a role of the extension.
  for (const { privilege, object, grantee } of granted) {
    await client.query(`REVOKE ${privilege} ON ${object} FROM ${grantee}`);
  }
  await runScript(client, `${name}/uninstall.sql`, inSchema(uninstallOf(name), schema));
  await client.query('DELETE FROM rowcast.migrations WHERE name LIKE $1', [`${name}/%`]);
  await client.query('DELETE FROM rowcast.extensions WHERE name = $1', [name]);
  return made_schema ? dropSchema(client, schema) : [];
}

const DEPENDENT_OBJECTS = '2BP01';

/** Drops the schema that was created for an extension, unless it contains objects of the application. */
async function dropSchema(client: pg.Client, schema: string): Promise<string[]> {
  await client.query('SAVEPOINT before_schema');
  try {
    await client.query(`DROP SCHEMA ${schema}`);
    return [`the schema ${schema}`];
  } catch (error) {
    if (!(error instanceof pg.DatabaseError) || error.code !== DEPENDENT_OBJECTS) throw error;
    await client.query('ROLLBACK TO SAVEPOINT before_schema');
    return [`(the schema ${schema} stays: it is not empty)`];
  }
}
