import { createHash } from 'node:crypto';
import pg from 'pg';
import { Refusal, Unavailable } from '../ground/refusal.js';
import type { Database, Sql } from '../ports/database.js';
import type { Principal } from '../ports/principal.js';
import { isConnectionLoss, isTimeout, TEXT_SETTINGS } from './session.js';

/** What row-level security and missing grants answer. */
const INSUFFICIENT_PRIVILEGE = '42501';
/** A standby, or a primary that is becoming one. */
const READ_ONLY = '25006';
/** A time or a text that PostgreSQL cannot hold. Other faults of data may be those of a policy, and are no fault of who asks. */
const NOT_STORABLE = /^(22007|22008|22009|22021)$/;

/** Statements that each connection keeps prepared: planning the reads of the API costs as much as running them. */
const MAX_PREPARED = 200;
const names = new Map<string, string>();

/** The name under which a statement is prepared; none where there are too many. */
function nameOf(text: string): { name?: string } {
  let name = names.get(text);
  if (name === undefined && names.size < MAX_PREPARED) {
    name = createHash('sha1').update(text).digest('hex').slice(0, 16);
    names.set(text, name);
  }
  return name === undefined ? {} : { name };
}

/** Every transaction has the rights of a principal: its role, and its claims for the policies to look at. */
export function principalDatabase(pool: pg.Pool, principal: Principal, requestId: string): Database {
  const begin = () => {
    const settings = {
      role: principal.role,
      'request.jwt.claims': principal.claims,
      'rowcast.request_id': requestId,
    };
    return `BEGIN ISOLATION LEVEL READ COMMITTED; SELECT ${localSettings(settings)}`;
  };
  return database(pool, begin, nameOf);
}

/** Every transaction has the rights of the pool's own login. */
export function poolDatabase(pool: pg.Pool): Database {
  // Values are read as text: the same as subscribers get, whatever the settings of the login.
  return database(pool, () => `BEGIN ISOLATION LEVEL READ COMMITTED; SELECT ${localSettings(TEXT_SETTINGS)}`);
}

/** Expressions that set each for the transaction. */
function localSettings(settings: Readonly<Record<string, string>>): string {
  const set = ([name, value]: [string, string]) =>
    `set_config(${pg.escapeLiteral(name)}, ${pg.escapeLiteral(value)}, true)`;
  return Object.entries(settings).map(set).join(', ');
}

/** `begin` goes to the server in one piece: a transaction costs its own statements and two more. */
function database(
  pool: pg.Pool,
  begin: () => string,
  prepared: (text: string) => { name?: string } = () => ({}),
): Database {
  return {
    async transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
      const client = await pool.connect().catch((error: Error) => {
        throw translated(error);
      });
      let broken: Error | undefined;
      // Between two statements nobody else hears that the connection is gone, and an error that nobody hears ends the process.
      const onLost = (error: Error) => {
        broken = error;
      };
      client.on('error', onLost);
      const ask = async (query: pg.QueryConfig) => {
        try {
          return await client.query(query);
        } catch (error) {
          // The next connection may lead to another server.
          if (isConnectionLoss(error) || codeOf(error) === READ_ONLY) broken = error as Error;
          throw translated(error as Error);
        }
      };
      try {
        await ask({ text: begin() });
        const result = await work({
          query: async (text, values, row) => {
            const { rows } = await ask({ ...prepared(text), text, values: [...values] });
            return rows.map((one) => row.parse(one));
          },
        });
        // Of a transaction that failed, even if `work` has borne it, Postgres makes a rollback without a word.
        if ((await ask({ text: 'COMMIT' })).command !== 'COMMIT')
          throw new Error('a statement of the transaction had failed');
        return result;
      } catch (error) {
        if (broken === undefined) await ask({ text: 'ROLLBACK' }).catch(() => {});
        throw error;
      } finally {
        client.off('error', onLost);
        client.release(broken);
      }
    },
  };
}

/** The SQLSTATE; empty where the error is not one of the server. */
function codeOf(error: unknown): string {
  return (error instanceof pg.DatabaseError && error.code) || '';
}

function translated(error: Error): Error {
  const code = codeOf(error);
  if (code === INSUFFICIENT_PRIVILEGE) return new Refusal('forbidden');
  if (NOT_STORABLE.test(code)) return new Refusal('invalid_request', 'a value cannot be stored');
  return isConnectionLoss(error) || isTimeout(error) || code === READ_ONLY
    ? new Unavailable(error.message, { cause: error })
    : error;
}
