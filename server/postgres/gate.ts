import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../ground/logger.js';
import type { Gate } from '../ports/doorbell.js';
import { connectOptions } from './connect-options.js';
import { ConnectionHealth } from './connection-health.js';
import { LOCK_CLASS, locks } from './locks.js';
import { CONNECT_TIMEOUT, soon } from './session.js';
import { endsInSilence } from './silence.js';

const NAME = 'rowcast gate';

/** See sql/core/04-doorbell.sql. */
const LOCK = `SELECT pg_advisory_lock(${LOCK_CLASS}, ${locks.gate})`;
const UNLOCK = `SELECT pg_advisory_unlock(${LOCK_CLASS}, ${locks.gate})`;

/**
 * The lease of whoever holds the gate, in milliseconds: the server itself ends a session that has not been heard of
 * for so long, so that a gateway that hangs, or stopped reading, does not keep writers from ringing for others.
 * It is renewed four times in that time.
 */
const LEASE = 2_000;

/** A lock is waited for as long as it takes, whatever the database's defaults say. */
const TIMEOUTS = `SELECT set_config(name, CASE name WHEN 'idle_session_timeout' THEN '${LEASE}' ELSE '0' END, false)
  FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_session_timeout')`;

/** Ends the session of a backend of ours; no row when it is gone, and its locks with it. */
const EVICT = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = '${NAME}'`;

/** After a session that never held the gate was lost, in milliseconds. */
const RETRY = 1_000;

/** Between two looks whether an evicted session is gone, in milliseconds. */
const EVICT_POLL = 20;

interface Visit {
  readonly client: pg.Client;
  readonly onTaken: () => void;
  readonly onLost: () => void;
  held: boolean;
  lost: boolean;
  /** When the lease was renewed last, and whether the server has yet to confirm that. */
  renewedAt: number;
  renewing: boolean;
}

/** The gate as an advisory lock, held by a session of its own: whatever ends the session, the gate is free again. */
export class AdvisoryGate implements Gate {
  readonly #databaseUrl: string;
  readonly #logger: Logger;
  readonly #health: ConnectionHealth;
  #visit: Visit | null = null;

  constructor(databaseUrl: string, logger: Logger, health = new ConnectionHealth(logger)) {
    this.#databaseUrl = databaseUrl;
    this.#logger = logger;
    this.#health = health;
  }

  take({ onTaken, onLost }: { onTaken(): void; onLost(): void }): void {
    const client = this.#makeClient({ stream: endsInSilence(LEASE, () => visit.renewing) });
    const visit: Visit = { client, onTaken, onLost, held: false, lost: false, renewedAt: 0, renewing: false };
    this.#visit = visit;
    client.on('error', (error) => this.#lose(visit, error));
    client.once('end', () => this.#lose(visit, new Error('the session has ended')));
    this.#lock(client).then(
      () => {
        visit.held = true;
        visit.renewedAt = Date.now();
        if (this.#visit === visit) onTaken();
      },
      (error) => this.#lose(visit, error),
    );
  }

  renew(): void {
    const visit = this.#visit;
    if (visit === null || !visit.held || visit.renewing || Date.now() - visit.renewedAt < LEASE / 4) return;
    visit.renewing = true;
    visit.renewedAt = Date.now();
    visit.client.query('SELECT').then(
      () => {
        visit.renewing = false;
      },
      (error) => this.#lose(visit, error),
    );
  }

  async leave(): Promise<void> {
    const visit = this.#visit;
    if (visit === null) return;
    this.#visit = null;
    // The server lets go of the lock when it unlocks; its session may take a while to end.
    const unlocked = visit.held && (await soon(visit.client.query(UNLOCK).then(Boolean, () => false))) === true;
    // A session that waits for the lock does not notice that its client has left: another one has to end it.
    if (!unlocked) await this.#evict(visit);
    await soon(visit.client.end().catch(() => {}));
  }

  #lose(visit: Visit, error: Error): void {
    if (this.#visit !== visit || visit.lost) return;
    visit.lost = true;
    this.#logger.warn({ err: error }, 'the gate was lost');
    // This side has lost the session; on the other it may go on, and keep writers from ringing.
    void this.#evict(visit).then(async () => {
      // A server that has no room for another session is not asked again at once.
      if (!visit.held) await delay(RETRY, undefined, { ref: false });
      if (this.#visit !== visit) return;
      this.#visit = null;
      visit.onLost();
    });
  }

  #makeClient(options: pg.ClientConfig): pg.Client {
    return new pg.Client({
      ...connectOptions(this.#databaseUrl),
      application_name: NAME,
      connectionTimeoutMillis: CONNECT_TIMEOUT,
      keepAlive: true,
      ...options,
    });
  }

  async #lock(client: pg.Client): Promise<void> {
    await this.#health.watch('gate', client.connect());
    await client.query(TIMEOUTS);
    await client.query(LOCK);
  }

  /** Resolves when the session of the visit neither holds nor queues, or there is no server to ask. */
  async #evict({ client }: Visit): Promise<void> {
    const { processID } = client as unknown as { processID: number | null };
    client.end().catch(() => {});
    if (processID === null) return; // it had not even connected
    const other = this.#makeClient({ query_timeout: CONNECT_TIMEOUT });
    other.on('error', () => {});
    try {
      await other.connect();
      const deadline = Date.now() + CONNECT_TIMEOUT;
      while ((await other.query(EVICT, [processID])).rows.length > 0) {
        if (Date.now() > deadline) throw new Error(`the session ${processID} does not end`);
        await delay(EVICT_POLL);
      }
    } catch (error) {
      this.#logger.warn({ err: error }, 'no server to free the gate on');
    } finally {
      await soon(other.end().catch(() => {}));
    }
  }
}
