import type pg from 'pg';
import { Shares } from '../limits/shares.js';
import type { Database, DatabaseFor, Use } from '../ports/database.js';
import { principalDatabase } from './principal-database.js';

/** Transactions of one user that wait for their turn; one more is refused. */
const MAX_WAITING = 100;

/**
 * The database as the HTTP API uses it: who asks has the rights of a principal, and its share of the connections. One user has
 * half of them at most, and so have all searches together; a write may wait for a lock, and leaves one to those who read.
 * A service is trusted, and has what is there.
 */
export function apiDatabase(pool: pg.Pool, connections: number): DatabaseFor {
  const half = Math.ceil(connections / 2);
  const users = new Shares(half, MAX_WAITING);
  const uses: Readonly<Record<Exclude<Use, 'read'>, Shares>> = {
    search: new Shares(half, Number.POSITIVE_INFINITY),
    write: new Shares(Math.max(1, connections - 1), Number.POSITIVE_INFINITY),
  };
  return ({ principal, requestId, use, gone }): Database => {
    const own = principalDatabase(pool, principal, requestId);
    const inTurn = use === 'read' ? own : uses[use].of(use, own, gone);
    if (principal.role === 'service_role') return inTurn;
    return users.of(`${principal.role} ${principal.subject}`, inTurn, gone);
  };
}
