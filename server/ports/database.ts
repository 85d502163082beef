import type { ZodType } from 'zod';
import type { Principal } from './principal.js';

/** SQL within a transaction. Each row of the answer is checked. */
export interface Sql {
  query<T>(text: string, values: readonly unknown[], row: ZodType<T>): Promise<T[]>;
}

/** The database as one principal sees it, or as the login of a library's user does. */
export interface Database {
  /** One transaction, READ COMMITTED, rolled back when `work` rejects. Rejects with `Unavailable` where there is no connection. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
}

/** What a request of the API uses the database for. */
export type Use = 'read' | 'search' | 'write';

export interface DatabaseUse {
  readonly principal: Principal;
  readonly requestId: string;
  readonly use: Use;
  /** Whether nobody waits for the answer any more: what is not begun by then never is. */
  readonly gone: () => boolean;
}

/** The database as a principal sees it. Transactions wait for their turn, and may be refused (rate_limited). */
export type DatabaseFor = (request: DatabaseUse) => Database;
