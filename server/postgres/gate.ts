/**
 * The gate as an advisory lock, held by a database session of its own: whatever ends the session, the gate is free. The
 * lock is a lease. The server closes a session that was silent for too long, so that a gateway that hangs does not keep
 * writers from ringing for others. The doorbell takes, renews and leaves the gate.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../ground/logger.js';
import type { Gate } from '../ports/doorbell.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import { connectOptions } from './connect-options.js';
import { ConnectionHealth } from './connection-health.js';
import { LOCK_CLASS, locks } from './locks.js';
import { CONNECT_TIMEOUT, withGrace } from './session.js';
import { endsInSilence } from './silence.js';

const NAME = 'rowcast gate';

/** See sql/core/04-doorbell.sql. */
const LOCK = `SELECT pg_advisory_lock(${LOCK_CLASS}, ${locks.gate})`;
const UNLOCK = `SELECT pg_advisory_unlock(${LOCK_CLASS}, ${locks.gate})`;

/** The lease, in milliseconds: the server closes a session that sends nothing for this time. It is renewed four times as often. */
const LEASE = 2_000;

/** Disables the timeouts of statements and locks, whatever the defaults of the database: waiting for the gate may take any time. */
const TIMEOUTS = `SELECT set_config(name, CASE name WHEN 'idle_session_timeout' THEN '${LEASE}' ELSE '0' END, false)
  FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_session_timeout')`;

/** Terminates the backend of a session of this gateway. Returns no row when it has ended and its locks are released. */
const EVICT = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = '${NAME}'`;

/** Delay after the loss of a session that never held the gate, in milliseconds. */
const RETRY = 1_000;

/** Interval at which the end of an evicted session is checked, in milliseconds. */
const EVICT_POLL = 20;

interface GateSession {
  readonly client: pg.Client;
  readonly onTaken: () => void;
  readonly onLost: () => void;
  held: boolean;
  lost: boolean;
  /** When the lease was last renewed, and whether the confirmation of the server is pending. */
  renewedAt: number;
  renewing: boolean;
}

export class AdvisoryGate implements Gate {
  readonly #databaseUrl: DatabaseUrl;
  readonly #logger: Logger;
  readonly #health: ConnectionHealth;
  #session: GateSession | null = null;

  constructor(databaseUrl: DatabaseUrl, logger: Logger, health = new ConnectionHealth(logger)) {
    this.#databaseUrl = databaseUrl;
    this.#logger = logger;
    this.#health = health;
  }

  take({ onTaken, onLost }: { onTaken(): void; onLost(): void }): void {
    const client = this.#makeClient({ stream: endsInSilence(LEASE, () => session.renewing) });
    const session: GateSession = { client, onTaken, onLost, held: false, lost: false, renewedAt: 0, renewing: false };
    this.#session = session;
    client.on('error', (error) => this.#lose(session, error));
    client.once('end', () => this.#lose(session, new Error('the session has ended')));
    this.#lock(client).then(
      () => {
        session.held = true;
        session.renewedAt = Date.now();
        if (this.#session === session) onTaken();
      },
      (error) => this.#lose(session, error),
    );
  }

  renew(): void {
    const session = this.#session;
    if (session === null || !session.held || session.renewing || Date.now() - session.renewedAt < LEASE / 4) return;
    session.renewing = true;
    session.renewedAt = Date.now();
    session.client.query('SELECT').then(
      () => {
        session.renewing = false;
      },
      (error) => this.#lose(session, error),
    );
  }

  async leave(): Promise<void> {
    const session = this.#session;
    if (session === null) return;
    this.#session = null;
    // Unlocking releases the gate at once; the end of the session may take a while.
    const unlocked =
      session.held && (await withGrace(session.client.query(UNLOCK).then(Boolean, () => false))) === true;
    // A backend that waits for the lock does not notice that its client has closed. Another session must terminate it.
    if (!unlocked) await this.#evict(session);
    await withGrace(session.client.end().catch(() => {}));
  }

  #lose(session: GateSession, error: Error): void {
    if (this.#session !== session || session.lost) return;
    session.lost = true;
    this.#logger.warn({ err: error }, 'the gate was lost');
    // The connection is lost, but the backend may still exist and hold the gate.
    void this.#evict(session).then(async () => {
      // Delayed, because the server may have no room for another session.
      if (!session.held) await delay(RETRY, undefined, { ref: false });
      if (this.#session !== session) return;
      this.#session = null;
      session.onLost();
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

  /** Resolves when the backend of the session neither holds nor queues for the gate, or the server cannot be reached. */
  async #evict({ client }: GateSession): Promise<void> {
    const { processID } = client as unknown as { processID: number | null };
    client.end().catch(() => {});
    if (processID === null) return; // never connected
    const other = this.#makeClient({ query_timeout: CONNECT_TIMEOUT });
    other.on('error', () => {});
    try {
      await other.connect();
      const deadline = Date.now() + CONNECT_TIMEOUT;
      while ((await other.query(EVICT, [processID])).rows.length > 0) {
        if (Date.now() > deadline) throw new Error(`the backend ${processID} does not exit`);
        await delay(EVICT_POLL);
      }
    } catch (error) {
      this.#logger.warn({ err: error }, 'the gate could not be freed');
    } finally {
      await withGrace(other.end().catch(() => {}));
    }
  }
}
