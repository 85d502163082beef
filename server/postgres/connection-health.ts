import type { Logger } from '../ground/logger.js';
import { fixOf, reasonOf } from './connect-errors.js';

/** How long a reason is reported after it was last met, in milliseconds: who needs the connection has tried again by then. */
const REPORTED = 60_000;

/** A session that has no connection. */
interface Trouble {
  /** The latest reason, and when it was met. */
  reason: string;
  at: number;
  /** The reasons that were logged since the connection stood last. */
  readonly logged: Set<string>;
}

/**
 * Why connections to the database were lost or refused. Each reason is logged once until the connection stands again,
 * however often it is tried meanwhile; `/readyz` reports the latest.
 */
export class ConnectionHealth {
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #troubles = new Map<string, Trouble>();

  constructor(logger: Logger, now = () => performance.now()) {
    this.#logger = logger;
    this.#now = now;
  }

  /** By session; empty while all connections stand. */
  get reasons(): Readonly<Record<string, string>> {
    const latest = [...this.#troubles].filter(([, { at }]) => this.#now() - at < REPORTED);
    return Object.fromEntries(latest.map(([session, { reason }]) => [session, reason]));
  }

  /** A connection that stood has ended. */
  lost(session: string, error: unknown): void {
    this.#met(session, error, 'the connection to the database was lost');
  }

  /** An attempt to connect has failed. */
  refused(session: string, error: unknown): void {
    this.#met(session, error, 'cannot connect to the database');
  }

  stands(session: string): void {
    if (this.#troubles.delete(session)) this.#logger.info({ session }, 'connected to the database again');
  }

  /** Reports how an attempt to connect ends. */
  async watch<T>(session: string, attempt: Promise<T>): Promise<T> {
    try {
      const result = await attempt;
      this.stands(session);
      return result;
    } catch (error) {
      this.refused(session, error);
      throw error;
    }
  }

  #met(session: string, error: unknown, what: string): void {
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
