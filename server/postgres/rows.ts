import { z } from 'zod';

/** A statement that is prepared under a name. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** Statements whose rows were found to be as expected. */
const checked = new WeakSet<Statement>();

/**
 * Checks rows against the schema of their statement, until a reply has had rows. The columns of a prepared statement cannot change
 * after that, as PostgreSQL refuses it, and a check of each row would cost as much as reading it. Statements that are not kept by
 * their callers are always checked. The schema must not transform values.
 */
export function checkRows<T>(statement: Statement, rows: unknown[], row: z.ZodType<T>): T[] {
  if (checked.has(statement)) return rows as T[];
  const parsed = z.array(row).parse(rows);
  if (rows.length > 0) checked.add(statement);
  return parsed;
}
