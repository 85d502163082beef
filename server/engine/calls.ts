/**
 * Calls the functions of the SQL set, which hold all rules and lock what they change. Each call is a transaction of its own,
 * because a transaction may touch one execution only. Contention is retried; refusals arrive as `Refusal`.
 */
import { z } from 'zod';
import { retrying } from '../executions/rules/retrying.js';
import { ofExecutions } from '../executions/schema.js';
import type { Database, Sql } from '../ports/database.js';

/** Serialization failures and deadlocks, which a transaction of the application may cause. */
const CONTENTION = {
  retries: 3,
  base: 20,
  isTransient: (error: unknown) => /^40(001|P01)$/.test(String((error as { code?: unknown } | null)?.code ?? '')),
};

/** JSON for a parameter of the type jsonb; null stays NULL. */
export const json = (value: unknown): string | null =>
  value === undefined || value === null ? null : JSON.stringify(value);

/** Calls one function, and returns its value. */
export async function callIn<T>(
  sql: Pick<Sql, 'query'>,
  call: string,
  values: readonly unknown[],
  result: z.ZodType<T>,
): Promise<T> {
  const [row] = await sql.query(`SELECT rowcast.${call} AS result`, values, z.object({ result }));
  if (row === undefined) throw new Error(`${call} returned no row`);
  return row.result as T;
}

export class Calls {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = ofExecutions(database);
  }

  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    return retrying(() => this.#database.transaction(work), CONTENTION);
  }

  call<T>(call: string, values: readonly unknown[], result: z.ZodType<T>): Promise<T> {
    return retrying(() => callIn({ query: this.#database.statement }, call, values, result), CONTENTION);
  }
}

/** A value of the type void. */
export const nothing = z.unknown();
