import type pg from 'pg';
import { Shares } from '../limits/shares.js';
import type { Database, DatabaseFor, Use } from '../ports/database.js';
import { principalDatabase } from './principal-database.js';

/** Maximum number of queued transactions of one user. Further ones are refused. */
const MAX_WAITING = 100;

/**
 * The database for the HTTP API: each request has the rights of its principal, and a share of the connections. One user may
 * use half of them, and so may all searches together. Writes, which may wait for a lock, leave one connection for reads.
 * Services are trusted and have no limit of their own.
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
