import type { ZodType } from 'zod';

/** SQL within a transaction. Each row of the answer is checked. */
export interface Sql {
  query<T>(text: string, values: readonly unknown[], row: ZodType<T>): Promise<T[]>;
}

/** The database as one principal sees it, or as the login of a library's user does. */
export interface Database {
  /** One transaction, READ COMMITTED, rolled back when `work` rejects. Rejects with `Unavailable` where there is no connection. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
}

/** The database cannot be reached. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable';
}
