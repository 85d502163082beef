/**
 * Transactions with the rights of a principal, or of the login of a pool. Errors of PostgreSQL are translated: a missing right
 * becomes `forbidden`, a value that cannot be stored `invalid_request`, and a lost connection `Unavailable`.
 */
import { createHash } from 'node:crypto';
import { type AnyErrorCode, errors } from '@rowcast/client/protocol';
import pg from 'pg';
import { Refusal, Unavailable } from '../ground/refusal.js';
import type { Database, Sql } from '../ports/database.js';
import { type Principal, SERVICE } from '../ports/principal.js';
import { isConnectionLoss, isTimeout, TEXT_SETTINGS } from './session.js';

/** The SQLSTATE of row-level security and of missing grants. */
const INSUFFICIENT_PRIVILEGE = '42501';
/** The SQLSTATE of a standby, or of a primary that is becoming one. */
const READ_ONLY = '25006';
/** SQLSTATEs of a time or text that PostgreSQL cannot store. Other data errors may come from a policy, and not from the request. */
const NOT_STORABLE = /^(22007|22008|22009|22021)$/;

/** The SQLSTATE of functions that refuse with a code of the table of errors, which is in the field of the constraint. */
const REFUSED = 'RC001';

/** Maximum number of prepared statements per connection. Planning the reads of the API costs as much as running them. */
const MAX_PREPARED = 200;
const names = new Map<string, string>();

/** Returns the name under which a statement is prepared; none if there are too many. */
function nameOf(text: string): { name?: string } {
  let name = names.get(text);
  if (name === undefined && names.size < MAX_PREPARED) {
    name = createHash('sha1').update(text).digest('hex').slice(0, 16);
    names.set(text, name);
  }
  return name === undefined ? {} : { name };
}

/** Returns a database whose transactions have the role and the claims of a principal. `snapshot`: each has one snapshot. */
export function principalDatabase(pool: pg.Pool, principal: Principal, requestId: string, snapshot = false): Database {
  const isolation = snapshot ? 'REPEATABLE READ' : 'READ COMMITTED';
  const begin = () =>
    `BEGIN ISOLATION LEVEL ${isolation}; SELECT ${localSettings({ ...as(principal), 'rowcast.request_id': requestId })}`;
  return database(pool, begin, nameOf, principal);
}

const as = ({ role, claims }: Principal) => ({ role, 'request.jwt.claims': claims });

/** Returns a database whose transactions have the rights of the login of the pool. */
export function poolDatabase(pool: pg.Pool): Database {
  // The settings make values have the same text as subscribers get, whatever the defaults of the login.
  const begin = `BEGIN ISOLATION LEVEL READ COMMITTED; SELECT ${localSettings(TEXT_SETTINGS)}`;
  return database(pool, () => begin);
}

/**
 * How long a transaction may wait for its process, in milliseconds. One that is frozen or cut off between two statements would
 * keep its locks until the server notices, and others would wait for them.
 */
const IDLE = { idle_in_transaction_session_timeout: '5000' };

/** SQL expressions that set each setting for the transaction. */
function localSettings(settings: Readonly<Record<string, string>>): string {
  const set = ([name, value]: [string, string]) =>
    `set_config(${pg.escapeLiteral(name)}, ${pg.escapeLiteral(value)}, true)`;
  return Object.entries({ ...settings, ...IDLE })
    .map(set)
    .join(', ');
}

/** A query on the connection of a transaction. */
type Ask = (query: pg.QueryConfig) => Promise<pg.QueryResult>;

/**
 * `begin` is sent as one query, so that a transaction costs two round trips besides its statements. One that is a single statement costs
 * one in all, if the pool has the option `pipeline`: between its messages it would keep its locks for as long as this process is busy.
 */
function database(
  pool: pg.Pool,
  begin: () => string,
  prepared: (text: string) => { name?: string } = () => ({}),
  principal: Principal | null = null,
): Database {
  /** Runs `work` on a connection, which is left without a transaction. */
  async function connected<T>(work: (ask: Ask) => Promise<T>): Promise<T> {
    const client = await pool.connect().catch((error: Error) => {
      throw translated(error);
    });
    let broken: Error | undefined;
    // Between two statements only this listener gets the loss of the connection; without a listener it would end the process.
    const onLost = (error: Error) => {
      broken = error;
    };
    client.on('error', onLost);
    const ask: Ask = async (query) => {
      try {
        return await client.query(query);
      } catch (error) {
        // The connection is discarded, because the next one may lead to the new primary.
        if (isConnectionLoss(error) || codeOf(error) === READ_ONLY) broken = error as Error;
        throw translated(error as Error);
      }
    };
    try {
      return await work(ask);
    } catch (error) {
      if (broken === undefined) await ask({ text: 'ROLLBACK' }).catch(() => {});
      throw error;
    } finally {
      client.off('error', onLost);
      client.release(broken);
    }
  }

  const config = (text: string, values: readonly unknown[]) => ({ ...prepared(text), text, values: [...values] });

  const transaction: Database['transaction'] = (work) =>
    connected(async (ask) => {
      await ask({ text: begin() });
      const query: Sql['query'] = async (text, values, row) =>
        (await ask(config(text, values))).rows.map((one) => row.parse(one));
      const become = (who: Principal) => ask({ text: `SELECT ${localSettings(as(who))}` });
      const asService: Sql['asService'] = async (text, values, row) => {
        if (principal === null || principal.role === SERVICE.role) return query(text, values, row);
        await become(SERVICE);
        const rows = await query(text, values, row);
        await become(principal);
        return rows;
      };
      const result = await work({ query, asService });
      // COMMIT of a failed transaction is a silent ROLLBACK, even if `work` has caught the error.
      if ((await ask({ text: 'COMMIT' })).command !== 'COMMIT')
        throw new Error('the transaction was rolled back because one of its statements had failed');
      return result;
    });

  return {
    transaction,
    async statement(text, values, row) {
      if (!pool.options.pipeline) return transaction((sql) => sql.query(text, values, row));
      return connected(async (ask) => {
        const sent = [{ text: begin() }, config(text, values), { text: 'COMMIT' }].map(ask);
        // All of it, so that nothing is under way when the connection is given back. The first failure is the cause of the others.
        await Promise.allSettled(sent);
        const [, result] = await Promise.all(sent);
        return (result?.rows ?? []).map((one) => row.parse(one));
      });
    },
  };
}

/** Returns the SQLSTATE; empty for errors that do not come from the server. */
function codeOf(error: unknown): string {
  return (error instanceof pg.DatabaseError && error.code) || '';
}

function translated(error: Error): Error {
  const code = codeOf(error);
  if (code === REFUSED) {
    const { constraint = '' } = error as pg.DatabaseError;
    if (constraint in errors) return new Refusal(constraint as AnyErrorCode, error.message);
  }
  if (code === INSUFFICIENT_PRIVILEGE) return new Refusal('forbidden');
  if (NOT_STORABLE.test(code)) return new Refusal('invalid_request', 'a value cannot be stored');
  return isConnectionLoss(error) || isTimeout(error) || code === READ_ONLY
    ? new Unavailable(error.message, { cause: error })
    : error;
}
