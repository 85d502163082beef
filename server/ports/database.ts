import type { ZodType } from 'zod';
import type { Principal } from './principal.js';

/** SQL within a transaction. Each row of a result is parsed by a schema. */
export interface Sql {
  query<T>(text: string, values: readonly unknown[], row: ZodType<T>): Promise<T[]>;
  /** The same with the rights of the service, in the same snapshot: for what does not depend on the principal. */
  asService<T>(text: string, values: readonly unknown[], row: ZodType<T>): Promise<T[]>;
}

/** The database with the rights of one principal, or of the login that an application connects as. */
export interface Database {
  /** Runs one transaction, READ COMMITTED or of one snapshot if it only reads. It is rolled back if `work` rejects. Rejects with `Unavailable` while the database cannot be reached. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /** Runs one statement in a transaction of its own, READ COMMITTED: in one round trip, where the clients of the pool pipeline. */
  statement: Sql['query'];
}

/** What a request of the API uses the database for: each use has its own limits. `short`: reads that take milliseconds. */
export type Use = 'read' | 'short' | 'search' | 'write';

export interface DatabaseUse {
  readonly principal: Principal;
  readonly requestId: string;
  readonly use: Use;
  /** Whose data the request is about, if that is known: requests of one tenant share their connections. */
  readonly tenant?: string | undefined;
  /** Whether the client has disconnected. A transaction that has not begun by then is skipped. */
  readonly gone: () => boolean;
}

/** Returns the database with the rights of a principal. Its transactions queue, and reject with `Refusal` (rate_limited) if the queue is full. */
export type DatabaseFor = (request: DatabaseUse) => Database;
