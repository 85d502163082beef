import { z } from 'zod';
import { inSchema } from '../ground/in-schema.js';
import type { Database, Sql } from '../ports/database.js';

export const EXTENSION = 'executions';

/** Selects the schema, as SQL writes its name. */
const SCHEMA = 'SELECT quote_ident(schema) AS schema FROM rowcast.extensions WHERE name = $1';
const row = z.object({ schema: z.string() });

const wrapped = new WeakMap<Database, Database>();

/**
 * Wraps a database for the SQL of executions, in which @extschema@ stands for the schema of their tables. If `known` is
 * not given, the first transaction reads where they are installed, and rejects if they are not.
 */
export function ofExecutions(database: Database, known?: string): Database {
  const present = wrapped.get(database);
  if (present !== undefined) return present;
  let schema = known;
  const find = async (query: Sql['query']): Promise<string> => {
    schema ??= (await query(SCHEMA, [EXTENSION], row))[0]?.schema;
    if (schema === undefined) {
      throw new Error('executions are not installed in this database: npx rowcast migrate --with executions');
    }
    return schema;
  };
  const own: Database = {
    statement: async (text, values, row) =>
      database.statement(inSchema(text, await find((...query) => database.statement(...query))), values, row),
    transaction: (work) =>
      database.transaction(async (sql) => {
        const there = await find((...query) => sql.query(...query));
        return work({
          query: (text, values, row) => sql.query(inSchema(text, there), values, row),
          asService: (text, values, row) => sql.asService(inSchema(text, there), values, row),
        });
      }),
  };
  wrapped.set(database, own);
  wrapped.set(own, own);
  return own;
}
