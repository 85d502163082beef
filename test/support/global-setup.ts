import { mkdir, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { removeClientVariables } from '../../server/postgres/client-variables.js';
import { migrate } from '../../server/postgres/migrate.js';
import { isAlive } from '../../server/postgres/supervise.js';
import { TEMPLATE } from './database.js';
import { postgresFolders } from './installed.mjs';
import { program } from './programs.js';
import { type EmbeddedPostgres, startEmbedded } from './server.js';

const SETTINGS = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  max_connections: '200',
  shared_buffers: '64MB',
  max_wal_size: '4GB',
  wal_level: 'logical',
};

declare global {
  var rowcastTestRun: { directory: string; clusters: EmbeddedPostgres[] } | undefined;
}

/** Starts the PostgreSQL servers for the run: the embedded one, and each that is installed on this machine. */
export default async function setup(): Promise<void> {
  removeClientVariables();
  await removeAbandoned();
  const directory = join(tmpdir(), `rowcast-test-${process.pid}`);
  await mkdir(directory);
  program('server/main.ts'); // once, for all workers

  const binDirs = [undefined, ...postgresFolders()];
  const clusters = await Promise.all(binDirs.map((binDir, index) => startCluster(join(directory, `${index}`), binDir)));
  globalThis.rowcastTestRun = { directory, clusters };
  process.env.ROWCAST_TEST_CLUSTERS = JSON.stringify(clusters.map(({ version, url }) => ({ version, url })));
}

async function startCluster(dataDir: string, binDir: string | undefined): Promise<EmbeddedPostgres> {
  const cluster = await startEmbedded({ dataDir, settings: SETTINGS, ...(binDir && { binDir }) });
  const admin = new pg.Client({ connectionString: cluster.url });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${TEMPLATE}`);
  await migrate(new URL(`/${TEMPLATE}`, cluster.url).href, { with: ['executions'] });
  // Roles belong to the cluster: what a test sees of them must not depend on whether another has installed the engine.
  await admin.query('CREATE ROLE agent_worker NOLOGIN NOINHERIT; GRANT agent_worker TO rowcast_gateway');
  await admin.query(`ALTER DATABASE ${TEMPLATE} ALLOW_CONNECTIONS false`); // a template must not be in use
  await admin.end();
  return cluster;
}

/** When Jest is killed, the servers go with it but their files stay, until the next run. */
async function removeAbandoned(): Promise<void> {
  for (const entry of await readdir(tmpdir())) {
    const pid = /^rowcast-test-(\d+)$/.exec(entry)?.[1];
    if (pid && !isAlive(Number(pid))) await rm(join(tmpdir(), entry), { recursive: true, force: true });
  }
}
