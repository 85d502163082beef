/** The PostgreSQL of a scenario, and its tables: one that is attached, and the same without Rowcast. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { migrate } from '../../../server/postgres/migrate.js';
import { startEmbedded } from '../../support/server.js';
import { atEnd } from './ends.js';
import { cpuOfTree } from './processes.js';

export interface Database {
  readonly url: string;
  readonly port: number;
  readonly version: string;
  cpu(): number;
  connect(): Promise<pg.Client>;
}

/** Defaults, except for what would add checkpoints to some turns and not to others, and the connections of 64 writers. */
export const SETTINGS = { max_connections: '200', max_wal_size: '4GB', checkpoint_timeout: '30min' };

export type Table = 'attached' | 'attached_indexed' | 'plain' | 'indexed' | 'notify';

/** About 150 bytes as JSON. `t`: when the row was made, in microseconds; `m`: the byte that the load client counts. */
const COLUMNS =
  'key text NOT NULL, n bigint, t bigint, body text, m text, created_at timestamptz NOT NULL DEFAULT now()';

const INDEXES = (table: string) => `
  ALTER TABLE ${table} ADD COLUMN id bigserial PRIMARY KEY;
  CREATE INDEX ON ${table} (key, created_at);`;

/** The most that a NOTIFY carries; a row that is longer is sent as its id, and read by the one that listens. */
const NOTIFY_BYTES = 7_900;

const TABLES = `
  CREATE TABLE plain (${COLUMNS});
  CREATE TABLE indexed (${COLUMNS});
  CREATE TABLE notify (${COLUMNS});
  CREATE TABLE attached (${COLUMNS});
  CREATE TABLE attached_indexed (${COLUMNS});
  ${['indexed', 'notify', 'attached_indexed'].map(INDEXES).join('')}
  SELECT rowcast.attach('attached', 'key');
  SELECT rowcast.attach('attached_indexed', 'key');
  CREATE FUNCTION send_row() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE payload text := row_to_json(NEW)::text;
    BEGIN
      PERFORM pg_notify('rows', CASE WHEN octet_length(payload) < ${NOTIFY_BYTES} THEN payload ELSE NEW.id::text END);
      RETURN NULL;
    END $$;
  CREATE TRIGGER send_row AFTER INSERT ON notify FOR EACH ROW EXECUTE FUNCTION send_row();`;

export async function startDatabase(): Promise<Database> {
  const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-bench-'));
  atEnd(() => rm(dataDir, { recursive: true, force: true }));
  const starting = startEmbedded({ dataDir, settings: SETTINGS });
  // Known before it has started: Ctrl-C may come meanwhile.
  atEnd(async () => (await starting).stop());
  const cluster = await starting;
  const postmaster = Number.parseInt(readFileSync(join(dataDir, 'pgdata/postmaster.pid'), 'utf8'), 10);
  await migrate(cluster.url);
  const connect = async () => {
    const client = new pg.Client({ connectionString: cluster.url });
    client.on('error', () => {}); // the server was stopped before it, which the end of a scenario does
    await client.connect();
    atEnd(() => client.end());
    return client;
  };
  await (await connect()).query(TABLES);
  return { url: cluster.url, port: cluster.port, version: cluster.version, cpu: () => cpuOfTree(postmaster), connect };
}

export const BODY = 'step progressed to the next stage of the plan; coder, 42 percent, no errors so far';
const MADE_AT = '(extract(epoch from clock_timestamp()) * 1e6)::bigint';

/** Inserts $3 rows of the key $1 in one statement, numbered from $2. `bytes`: the length of the text in each. */
export function insert(table: Table, bytes = BODY.length): { name: string; text: string } {
  const body = `rpad('${BODY}', ${bytes}, ' and so on')`;
  return {
    name: `insert-${table}-${bytes}`,
    text: `INSERT INTO ${table} (key, n, t, body, m)
      SELECT $1, $2::bigint + i, ${MADE_AT}, ${body}, '\`' FROM generate_series(1, $3::int) i`,
  };
}

/** One row as pgbench writes it: the key is one of so many. */
export const pgbenchScript = (table: Table, keys: number) => `\\set k random(1, ${keys})
INSERT INTO ${table} (key, n, t, body, m) VALUES (:k::text, 1, ${MADE_AT}, '${BODY}', '\`');
`;
/** Inserts one row for each key of $1. */
export const INSERT_KEYS = {
  name: 'insert-keys',
  text: `INSERT INTO attached (key, n, t, body, m)
    SELECT k, $2::bigint, ${MADE_AT}, '${BODY}', '\`' FROM unnest($1::text[]) k`,
};
