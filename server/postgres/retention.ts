/**
 * Prunes the streams that have a policy (`rowcast.retain`), on an interval and in batches, and deletes expired tickets and
 * idempotency keys. Only one gateway prunes at a time. It uses a connection of its own, which it closes after each run.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { z } from 'zod';
import type { Logger } from '../ground/logger.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import { connectOptions } from './connect-options.js';
import { ConnectionHealth } from './connection-health.js';
import { AS_GATEWAY, CONNECT_TIMEOUT, withGrace } from './session.js';

const POLICIES = `SELECT s.name FROM rowcast.retention r JOIN rowcast.streams s USING (stream_id)
  WHERE r.keep IS NOT NULL OR r.keep_rows IS NOT NULL ORDER BY s.name`;

/** Prunes one batch in its own transaction. Returns null while another gateway prunes this stream, or if the policy was removed. */
const batchOf = (stream: string) => `SELECT rowcast.${pg.escapeIdentifier(`${stream}_prune`)}()::int AS deleted`;

/** Runs after which it is worth a line that another session always had the row of the policy. */
const MAX_HELD = 3;

/** Deletes expired tickets and idempotency keys, as many as a batch has. */
const SWEEP = 'SELECT rowcast.sweep()::int AS deleted';

/** Keeps the triggers of tracked tables in step with their columns and partitions. */
const RENEW = 'SELECT rowcast.renew_tracks()';

/**
 * The statement timeout of a batch, in milliseconds. A batch scans all channels, without locks, if few have old events. The client
 * closes the connection if the server does not respond after twice this time.
 */
const BATCH_TIMEOUT = 120_000;

const HELD =
  'old events are not pruned: another session has held the row of this stream in rowcast.retention for several runs';

const policyRow = z.object({ name: z.string() });
const batchRow = z.object({ deleted: z.number().nullable() });

export interface RetentionOptions {
  readonly databaseUrl: DatabaseUrl;
  /** Time between two runs, in milliseconds. */
  readonly interval: number;
  readonly logger: Logger;
  readonly health?: ConnectionHealth;
}

export class Retention {
  readonly #options: RetentionOptions;
  readonly #health: ConnectionHealth;
  readonly #stop = new AbortController();
  /** The present error by stream, '' for the run as a whole. An error is logged when it first occurs, not at every run. */
  readonly #faults = new Map<string, string>();
  /** Runs in a row in which another session had the row of the policy, by stream. */
  readonly #held = new Map<string, number>();
  #running: Promise<void> = Promise.resolve();
  #client: pg.Client | null = null;

  constructor(options: RetentionOptions) {
    this.#options = options;
    this.#health = options.health ?? new ConnectionHealth(options.logger);
  }

  start(): void {
    this.#running = this.#keep();
  }

  /** Does not wait for a batch in progress, which the server completes or rolls back. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await withGrace(Promise.all([this.#client?.end().catch(() => {}), this.#running]));
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      await delay(this.#options.interval, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      await this.#logErrors('', () => this.#run());
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
    client.on('error', () => {}); // the pending query rejects as well
    this.#client = client;
    try {
      await this.#health.watch('retention', client.connect());
      await client.query(AS_GATEWAY);
      await client.query(RENEW);
      for (const { name } of z.array(policyRow).parse((await client.query(POLICIES)).rows)) {
        await this.#logErrors(name, () => this.#prune(client, name));
      }
      await this.#repeat(client, SWEEP);
    } finally {
      this.#client = null;
      await withGrace(client.end().catch(() => {}));
    }
  }

  async #prune(client: pg.Client, stream: string): Promise<void> {
    const { deleted, held } = await this.#repeat(client, batchOf(stream));
    const runs = held ? (this.#held.get(stream) ?? 0) + 1 : 0;
    this.#held.set(stream, runs);
    if (runs === MAX_HELD) this.#options.logger.warn({ stream }, HELD);
    if (deleted > 0) this.#options.logger.info({ stream, events: deleted }, 'pruned');
  }

  /** Runs batches until nothing is left to delete. `held`: the first one found another session at work. */
  async #repeat(client: pg.Client, batch: string): Promise<{ readonly deleted: number; readonly held: boolean }> {
    let total = 0;
    while (!this.#stop.signal.aborted) {
      const [{ deleted } = { deleted: null }] = z.array(batchRow).parse((await client.query(batch)).rows);
      if (!deleted) return { deleted: total, held: total === 0 && deleted === null };
      total += deleted;
    }
    return { deleted: total, held: false };
  }

  async #logErrors(stream: string, work: () => Promise<void>): Promise<void> {
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
