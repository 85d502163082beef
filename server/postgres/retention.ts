import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { z } from 'zod';
import type { Logger } from '../ground/logger.js';
import { connectOptions } from './connect-options.js';
import { ConnectionHealth } from './connection-health.js';
import { LOCK_CLASS, locks } from './locks.js';
import { AS_GATEWAY, CONNECT_TIMEOUT, soon } from './session.js';

const POLICIES = `SELECT s.name FROM rowcast.retention r JOIN rowcast.streams s USING (stream_id)
  WHERE r.keep IS NOT NULL OR r.keep_rows IS NOT NULL ORDER BY s.name`;

/**
 * One batch, in a transaction of its own, by one gateway at a time. Null while another gateway holds it, or where the policy was withdrawn.
 */
const BATCH = `SELECT CASE WHEN pg_try_advisory_xact_lock(${LOCK_CLASS}, ${locks.pruning})
    THEN rowcast.prune_by_policy($1) END::int AS deleted`;

/** Tickets and idempotency keys that are out of date. */
const SWEEP = 'SELECT rowcast.sweep()';

/**
 * For one batch, in milliseconds: it walks over all channels, without a lock, when few of them have something old.
 * A server that does not answer is given up after twice as long.
 */
const BATCH_TIMEOUT = 120_000;

const policyRow = z.object({ name: z.string() });
const batchRow = z.object({ deleted: z.number().nullable() });

export interface RetentionOptions {
  readonly databaseUrl: string;
  /** Between two runs, in milliseconds. */
  readonly interval: number;
  readonly logger: Logger;
  readonly health?: ConnectionHealth;
}

/** Prunes the streams that have a policy (`rowcast.retain`), on an interval, over a connection that lasts one run. */
export class Retention {
  readonly #options: RetentionOptions;
  readonly #health: ConnectionHealth;
  readonly #stop = new AbortController();
  /** What is wrong, by stream, '' for the run as a whole: a fault is logged when it begins, not at every run. */
  readonly #faults = new Map<string, string>();
  #running: Promise<void> = Promise.resolve();
  #client: pg.Client | null = null;

  constructor(options: RetentionOptions) {
    this.#options = options;
    this.#health = options.health ?? new ConnectionHealth(options.logger);
  }

  start(): void {
    this.#running = this.#keep();
  }

  /** A batch that is under way is finished by the server, or undone; nobody waits for it. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await soon(Promise.all([this.#client?.end().catch(() => {}), this.#running]));
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      await delay(this.#options.interval, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      await this.#noting('', () => this.#run());
    }
  }

  async #run(): Promise<void> {
    const { databaseUrl } = this.#options;
    const client = new pg.Client({
      ...connectOptions(databaseUrl),
      application_name: 'rowcast retention',
      connectionTimeoutMillis: CONNECT_TIMEOUT,
      statement_timeout: BATCH_TIMEOUT,
      query_timeout: 2 * BATCH_TIMEOUT,
      keepAlive: true,
    });
    client.on('error', () => {}); // the query that was under way rejects as well
    this.#client = client;
    try {
      await this.#health.watch('retention', client.connect());
      await client.query(`${AS_GATEWAY}; SET default_transaction_isolation = 'read committed'`);
      for (const { name } of z.array(policyRow).parse((await client.query(POLICIES)).rows)) {
        await this.#noting(name, () => this.#prune(client, name));
      }
      await client.query(SWEEP);
    } finally {
      this.#client = null;
      await soon(client.end().catch(() => {}));
    }
  }

  async #prune(client: pg.Client, stream: string): Promise<void> {
    let total = 0;
    while (!this.#stop.signal.aborted) {
      const [batch] = z.array(batchRow).parse((await client.query(BATCH, [stream])).rows);
      if (!batch?.deleted) break;
      total += batch.deleted;
    }
    if (total > 0) this.#options.logger.info({ stream, events: total }, 'pruned');
  }

  async #noting(stream: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#faults.delete(stream);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const { message } = error as Error;
      if (this.#faults.get(stream) === message) return;
      this.#faults.set(stream, message);
      const about = stream === '' ? {} : { stream };
      this.#options.logger.error({ ...about, err: error }, 'old events could not be pruned, trying again');
    }
  }
}
