import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../logger.js';
import type { Gate } from '../ports.js';
import { CONNECT_TIMEOUT, soon } from './session.js';

const NAME = 'rowcast gate';

/** Advisory lock (1919907683, 1): see sql/0002_doorbell.sql. */
const LOCK = 'SELECT pg_advisory_lock(1919907683, 1)';
const UNLOCK = 'SELECT pg_advisory_unlock(1919907683, 1)';

/** A lock is waited for as long as it takes, whatever the database's defaults say. */
const NO_TIMEOUTS = `SELECT set_config(name, '0', false) FROM pg_settings
  WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_session_timeout')`;

/** Ends the session of a backend of ours; no row when it is gone, and its locks with it. */
const EVICT = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = '${NAME}'`;

/** Between two looks whether an evicted session is gone, in milliseconds. */
const EVICT_POLL = 20;

interface Visit {
  readonly client: pg.Client;
  held: boolean;
  lost: boolean;
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
    const visit: Visit = { client: this.#makeClient(), held: false, lost: false };
    const { client } = visit;
    this.#visit = visit;
    const lost = async (error: Error) => {
      if (this.#visit !== visit || visit.lost) return;
      visit.lost = true;
      this.#logger.warn({ err: error }, 'the gate was lost');
      // This side has lost the session; on the other it may go on, and keep writers from ringing.
      await this.#evict(visit);
      if (this.#visit !== visit) return;
      this.#visit = null;
      onLost();
    };
    client.on('error', lost);
    client.once('end', () => lost(new Error('the session has ended')));
    this.#lock(client).then(() => {
      visit.held = true;
      if (this.#visit === visit) onTaken();
    }, lost);
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

  #makeClient(queryTimeout?: number): pg.Client {
    return new pg.Client({
      connectionString: this.#databaseUrl,
      application_name: NAME,
      connectionTimeoutMillis: CONNECT_TIMEOUT,
      keepAlive: true,
      ...(queryTimeout === undefined ? {} : { query_timeout: queryTimeout }),
    });
  }

  async #lock(client: pg.Client): Promise<void> {
    await client.connect();
    await client.query(NO_TIMEOUTS);
    await client.query(LOCK);
  }

  /** Resolves when the session of the visit neither holds nor queues, or there is no server to ask. */
  async #evict({ client }: Visit): Promise<void> {
    const { processID } = client as unknown as { processID: number | null };
    client.end().catch(() => {});
    if (processID === null) return; // it had not even connected
    const other = this.#makeClient(CONNECT_TIMEOUT);
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
