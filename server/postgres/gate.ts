import pg from 'pg';
import type { Logger } from '../logger.js';
import type { Gate } from '../ports.js';
import { CONNECT_TIMEOUT } from './session.js';

/** Advisory lock (1919907683, 1): see sql/0002_doorbell.sql. */
const LOCK = 'SELECT pg_advisory_lock(1919907683, 1)';
const UNLOCK = 'SELECT pg_advisory_unlock(1919907683, 1)';

/** A lock is waited for as long as it takes, whatever the database's defaults say. */
const NO_TIMEOUTS = `SELECT set_config(name, '0', false) FROM pg_settings
  WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_session_timeout')`;

interface Visit {
  readonly client: pg.Client;
  held: boolean;
  /** Settles when the lock was granted, or the attempt has failed. */
  settled: Promise<void>;
}

/** The gate as an advisory lock, held by a session of its own: whatever ends the session, the gate is free again. */
export class AdvisoryGate implements Gate {
  readonly #databaseUrl: string;
  readonly #logger: Logger;
  #visit: Visit | null = null;

  constructor(databaseUrl: string, logger: Logger) {
    this.#databaseUrl = databaseUrl;
    this.#logger = logger;
  }

  take({ onTaken, onLost }: { onTaken(): void; onLost(): void }): void {
    const client = new pg.Client({
      connectionString: this.#databaseUrl,
      application_name: 'rowcast gate',
      connectionTimeoutMillis: CONNECT_TIMEOUT,
      keepAlive: true,
    });
    const visit: Visit = { client, held: false, settled: Promise.resolve() };
    const lost = (error: Error) => {
      if (this.#visit !== visit) return;
      this.#visit = null;
      this.#logger.warn({ err: error }, 'the gate was lost');
      client.end().catch(() => {});
      onLost();
    };
    client.on('error', lost);
    client.on('end', () => lost(new Error('the session has ended')));
    visit.settled = this.#lock(client).then(() => {
      visit.held = true;
      if (this.#visit === visit) onTaken();
    }, lost);
    this.#visit = visit;
  }

  async leave(): Promise<void> {
    const visit = this.#visit;
    if (visit === null) return;
    this.#visit = null;
    if (!visit.held) await this.#cancelWait(visit);
    // The server lets go of the lock when it unlocks; its session may take a while to end.
    if (visit.held) await visit.client.query(UNLOCK).catch(() => {});
    await visit.client.end().catch(() => {});
  }

  async #lock(client: pg.Client): Promise<void> {
    await client.connect();
    await client.query(NO_TIMEOUTS);
    await client.query(LOCK);
  }

  /** A session that waits for the lock does not notice that its client has left: it must be told by another one. */
  async #cancelWait({ client, settled }: Visit): Promise<void> {
    const other = new pg.Client({ connectionString: this.#databaseUrl, application_name: 'rowcast gate' });
    other.on('error', () => {});
    try {
      await other.connect();
      const { processID } = client as unknown as { processID: number | null };
      await other.query('SELECT pg_cancel_backend($1)', [processID]);
      await settled;
    } catch {
      await client.end().catch(() => {}); // the database is gone, and with it the queue
    } finally {
      await other.end().catch(() => {});
    }
  }
}
