import { type Database, isAnswer } from './database.js';

const INTERVAL = 200;
/** PostgreSQL is away at times, and slow at others; but who looks less often than this, on the average, has not looked. */
const LOOKS_PER_SECOND = 1;

/** Writers that wait for a session of a gateway. A wait for a writer is what the lock of a channel is for. */
const BLOCKED = `SELECT w.pid, b.pid AS by, b.application_name AS name, b.usename AS user
  FROM pg_stat_activity w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) blocker JOIN pg_stat_activity b ON b.pid = blocker
  WHERE w.application_name = 'campaign writer' AND w.wait_event_type = 'Lock' AND b.application_name LIKE 'rowcast %'`;

interface Blocked {
  readonly pid: number;
  readonly by: number;
  readonly name: string;
  readonly user: string;
}

/** Looks for writers that wait because of a gateway. The lock of NOTIFY is held for moments; twice in a row is a fault. */
export class LockWatch {
  /** Answers that were had. */
  looks = 0;
  readonly #faults = new Set<string>();
  readonly #database: Database;
  readonly #stop = new AbortController();
  #from = 0;
  #seconds = 0;
  #before = new Set<string>();
  #running: Promise<void> = Promise.resolve();

  constructor(database: Database) {
    this.#database = database;
  }

  start(): void {
    this.#from = performance.now();
    this.#running = this.#watch();
  }

  async stop(): Promise<void> {
    if (this.#stop.signal.aborted) return this.#running;
    this.#stop.abort();
    await this.#running;
    this.#seconds = (performance.now() - this.#from) / 1000;
  }

  get faults(): string[] {
    const least = Math.floor(this.#seconds * LOOKS_PER_SECOND);
    const few = `who waits for whom was looked at only ${this.looks} times, and ${least} are too few to say`;
    return [...this.#faults, ...(this.looks < least ? [few] : [])];
  }

  async #watch(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
      const rows = await this.#look();
      const now = new Map(rows.map(({ pid, by, name, user }) => [`${pid} ${by}`, `${name} of ${user}`]));
      for (const [pair, blocker] of now) {
        if (this.#before.has(pair)) this.#faults.add(`a writer waited for the session ${blocker}`);
      }
      this.#before = new Set(now.keys());
    }
  }

  async #look(): Promise<Blocked[]> {
    try {
      const rows = await this.#database.query<Blocked>(BLOCKED);
      this.looks += 1;
      return rows;
    } catch (error) {
      // Without an answer PostgreSQL is away. Any other answer would be the same next time.
      if (isAnswer(error)) this.#faults.add(`cannot see who waits for whom: ${error.code} ${error.message}`);
      return [];
    }
  }
}
