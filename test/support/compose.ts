import { chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { freePort } from '../../server/ground/free-port.js';
import { findBinaries } from '../../server/postgres/binaries.js';
import { type RunAs, startSupervised } from '../../server/postgres/supervise.js';

const NOBODY = { uid: 65534, gid: 65534 };

export interface Composed {
  readonly version: string;
  /** The DATABASE_URL of docker-compose.yml, with the address of this server. */
  readonly url: string;
  stop(): Promise<void>;
}

/** A fresh cluster as the image of PostgreSQL makes it from the variables in docker-compose.yml. */
export async function compose(folder: string, binDir: string | undefined): Promise<Composed> {
  const file = await readFile(new URL('../../docker-compose.yml', import.meta.url), 'utf8');
  const variable = (name: string) => {
    const value = new RegExp(`^ +${name}: (\\S+)$`, 'm').exec(file)?.[1];
    if (value === undefined) throw new Error(`docker-compose.yml sets no ${name}`);
    return value.replaceAll(/\$\{POSTGRES_PASSWORD:-(\w+)\}/g, '$1');
  };
  const runAs: RunAs = process.getuid?.() === 0 ? NOBODY : {};
  const { initdb, postgres, version } = await findBinaries(runAs, binDir);
  const data = join(folder, 'pgdata');
  await mkdir(data, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, 'password'), `${variable('POSTGRES_PASSWORD')}\n`);
  if ('uid' in runAs) await chown(data, runAs.uid, runAs.gid);
  const user = variable('POSTGRES_USER');
  const database = variable('POSTGRES_DB');
  const made = [
    '-D',
    data,
    '-U',
    user,
    `--pwfile=${join(folder, 'password')}`,
    '-A',
    'scram-sha-256',
    '-E',
    'UTF8',
    '-N',
  ];
  const initialised = await startSupervised(initdb, made, { cwd: data, runAs, ready: 'Success.' });
  await initialised.exited;
  const port = await freePort();
  const args = [
    '-D',
    data,
    '-p',
    `${port}`,
    '-c',
    'listen_addresses=127.0.0.1',
    '-c',
    'unix_socket_directories=.',
    '-c',
    'fsync=off',
  ];
  const ready = 'database system is ready to accept connections';
  const { stop } = await startSupervised(postgres, args, { cwd: data, runAs, ready });
  const url = Object.assign(new URL(variable('DATABASE_URL')), { hostname: '127.0.0.1', port: `${port}` });
  const admin = new pg.Client({
    host: '127.0.0.1',
    port,
    user,
    password: variable('POSTGRES_PASSWORD'),
    database: 'postgres',
  });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${database}`);
  await admin.end();
  return { version, url: url.href, stop };
}
