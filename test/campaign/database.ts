import { execFileSync } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { chown, mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { migrate } from '../../server/postgres/migrate.js';
import { type EmbeddedPostgres, startEmbedded } from '../support/server.js';
import { until } from '../support/until.js';
import { SCHEMA } from './schema.js';

/** A time in which writers may fail or wait, and it is PostgreSQL's own doing; in milliseconds of `performance.now`. */
export interface Excuse {
  readonly reason: string;
  readonly from: number;
  to: number;
}

const SETTINGS = {
  fsync: 'off', // killed processes do not lose what the kernel holds; only a machine that fails would
  shared_buffers: '128MB',
  max_connections: '150',
  max_wal_size: '2GB',
  deadlock_timeout: '100ms',
  // 16 MB instead of 8 GB, so that the queue can be put under pressure.
  max_notify_queue_pages: '2000',
};

/** Size of the file system that the tables of the campaign lie on, if one can be mounted: a row takes about 300 bytes. */
const SMALL_DISK_MB = 640;
/** A writer whose session ended needs this long to be back, in milliseconds. */
const GRACE = 1_500;
const ADMIN_SESSIONS = 5;
const NOBODY = 65534;

/** The server has said what became of the statement. After 57P and 08 there is no session any more. */
export function isAnswer(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError && !/^(57P|08)/.test(error.code ?? '');
}

/** The server of the campaign, with all that can be done to it. */
export class Database {
  readonly excuses: Excuse[] = [];
  /** Where the tables lie on a disk that can be filled; null, and why, if there is none. */
  smallDisk: string | null = null;
  noSmallDisk = '';
  readonly #folder: string;
  readonly #log: WriteStream;
  #server: EmbeddedPostgres;
  readonly #admin: pg.Pool;

  private constructor(folder: string, server: EmbeddedPostgres, log: WriteStream) {
    this.#folder = folder;
    this.#server = server;
    this.#log = log;
    this.#admin = new pg.Pool({
      connectionString: server.url,
      application_name: 'campaign admin',
      max: ADMIN_SESSIONS,
    });
    this.#admin.on('error', () => {});
  }

  static async start(folder: string, logFile: string): Promise<Database> {
    const log = createWriteStream(logFile);
    const server = await startEmbedded({ dataDir: folder, settings: SETTINGS, log: (line) => log.write(`${line}\n`) });
    const database = new Database(folder, server, log);
    try {
      await migrate(server.url, { with: ['executions'] });
      await database.query(SCHEMA);
      await database.#useSmallDisk();
      return database;
    } catch (error) {
      await database.stop();
      throw error;
    }
  }

  get url(): string {
    return this.#server.url;
  }

  get port(): number {
    return this.#server.port;
  }

  get version(): string {
    return this.#server.version;
  }

  /** As the superuser. */
  async query<R extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<R[]> {
    return (await this.#admin.query<R>(text, values)).rows;
  }

  async connect(name: string): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.url, application_name: name });
    client.on('error', () => {}); // what it fails at says so
    await client.connect();
    return client;
  }

  /** What writers meet while `work` runs is not held against anybody. */
  async excuse<T>(reason: string, work: () => Promise<T>): Promise<T> {
    const excuse = { reason, from: performance.now(), to: Number.POSITIVE_INFINITY };
    this.excuses.push(excuse);
    try {
      return await work();
    } finally {
      excuse.to = performance.now() + GRACE;
    }
  }

  /** Whether something that lasted from one moment to another met a time that is excused. */
  excused(from: number, to: number): boolean {
    return this.excuses.some((excuse) => excuse.from <= to && excuse.to >= from);
  }

  async restart(how: 'fast' | 'immediate', downMs: number): Promise<void> {
    await this.excuse(`PostgreSQL restarted, ${how}`, async () => {
      const server = this.#server;
      if (how === 'immediate') server.kill('SIGQUIT');
      await (how === 'immediate' ? server.exited : server.stop());
      await delay(downMs);
      this.#server = await startEmbedded({
        dataDir: this.#folder,
        port: server.port,
        settings: SETTINGS,
        log: (line) => this.#log.write(`${line}\n`),
      });
      await until(() => this.query('SELECT 1').catch(() => null), { what: 'PostgreSQL to answer again' });
    });
  }

  async stop(): Promise<void> {
    await this.#admin.end();
    await this.#server.stop();
    if (this.smallDisk !== null) execFileSync('umount', ['--lazy', this.smallDisk]);
    this.#log.end();
  }

  async freeBytes(): Promise<number> {
    if (this.smallDisk === null) return Number.POSITIVE_INFINITY;
    const { bavail, bsize } = await statfs(this.smallDisk);
    return bavail * bsize;
  }

  async #useSmallDisk(): Promise<void> {
    const disk = join(this.#folder, 'disk');
    try {
      await mkdir(disk, { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_MB}m`, 'tmpfs', disk], { stdio: 'pipe' });
    } catch (error) {
      this.noSmallDisk = `no file system could be mounted: ${(error as Error).message.split('\n').at(-1) || 'not permitted'}`;
      return;
    }
    this.smallDisk = disk;
    const space = join(disk, 'space');
    await mkdir(space);
    if (process.getuid?.() === 0) await chown(space, NOBODY, NOBODY);
    await this.query(`CREATE TABLESPACE small LOCATION '${space}'`);
    for (const table of ['plain', 'pruned', 'reborn']) {
      await this.query(`ALTER TABLE campaign.${table} SET TABLESPACE small`);
    }
  }
}
