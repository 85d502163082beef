import type { Logger } from '../ground/logger.js';
import { fixOf, reasonOf } from './connect-errors.js';

/** How long a reason is reported after its last occurrence, in milliseconds. A session that needs the connection has retried by then. */
const REPORTED = 60_000;

/** A session that has no connection. */
interface Trouble {
  /** The latest reason, and when it occurred. */
  reason: string;
  at: number;
  /** The reasons that were logged since the last successful connection. */
  readonly logged: Set<string>;
}

/**
 * Records why connections to the database were lost or refused. Each reason is logged once until the session is connected
 * again, however many attempts fail. `/readyz` reports the latest reason of each session.
 */
export class ConnectionHealth {
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #troubles = new Map<string, Trouble>();

  constructor(logger: Logger, now = () => performance.now()) {
    this.#logger = logger;
    this.#now = now;
  }

  /** The latest reasons by session; empty if all sessions are connected. */
  get reasons(): Readonly<Record<string, string>> {
    const latest = [...this.#troubles].filter(([, { at }]) => this.#now() - at < REPORTED);
    return Object.fromEntries(latest.map(([session, { reason }]) => [session, reason]));
  }

  /** An established connection was lost. */
  lost(session: string, error: unknown): void {
    this.#record(session, error, 'the connection to the database was lost');
  }

  /** An attempt to connect has failed. */
  refused(session: string, error: unknown): void {
    this.#record(session, error, 'cannot connect to the database');
  }

  connected(session: string): void {
    if (this.#troubles.delete(session)) this.#logger.info({ session }, 'connected to the database again');
  }

  /** Records the result of an attempt to connect. */
  async watch<T>(session: string, attempt: Promise<T>): Promise<T> {
    try {
      const result = await attempt;
      this.connected(session);
      return result;
    } catch (error) {
      this.refused(session, error);
      throw error;
    }
  }

  #record(session: string, error: unknown, what: string): void {
    const reason = reasonOf(error);
    const trouble = this.#troubles.get(session) ?? { reason, at: 0, logged: new Set() };
    this.#troubles.set(session, trouble);
    trouble.reason = reason;
    trouble.at = this.#now();
    if (trouble.logged.has(reason)) return;
    trouble.logged.add(reason);
    const fix = fixOf(error);
    this.#logger.warn({ session, err: error, ...(fix !== undefined && { fix }) }, what);
  }
}
