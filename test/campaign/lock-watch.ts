import type { Database } from './database.js';

const INTERVAL = 200;

/** Writers that wait for a session of a gateway. A wait for a writer is what the lock of a channel is for. */
const BLOCKED = `SELECT w.pid, b.pid AS by, b.application_name AS name, b.usename AS user
  FROM pg_stat_activity w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) blocker JOIN pg_stat_activity b ON b.pid = blocker
  WHERE w.application_name = 'campaign writer' AND w.wait_event_type = 'Lock' AND b.application_name LIKE 'rowcast %'`;

/** Looks for writers that wait because of a gateway. The lock of NOTIFY is held for moments; twice in a row is a fault. */
export class LockWatch {
  readonly faults: string[] = [];
  readonly #database: Database;
  readonly #stop = new AbortController();
  #before = new Set<string>();
  #running: Promise<void> = Promise.resolve();

  constructor(database: Database) {
    this.#database = database;
  }

  start(): void {
    this.#running = this.#watch();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #watch(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
      const rows = await this.#database
        .query<{ pid: number; by: number; name: string; user: string }>(BLOCKED)
        .catch(() => []); // PostgreSQL is away
      const now = new Map(rows.map(({ pid, by, name, user }) => [`${pid} ${by}`, `${name} of ${user}`]));
      for (const [pair, blocker] of now) {
        if (this.#before.has(pair)) this.faults.push(`a writer waited for the session ${blocker}`);
      }
      this.#before = new Set(now.keys());
    }
  }
}
