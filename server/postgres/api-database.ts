import type pg from 'pg';
import { Shares } from '../limits/shares.js';
import type { Database, DatabaseFor, Use } from '../ports/database.js';
import { principalDatabase } from './principal-database.js';

/** Maximum number of queued transactions of one user, and of one tenant. Further ones are refused. */
const MAX_WAITING = 100;
const MAX_WAITING_TENANT = 500;

/**
 * The database for the HTTP API: each request has the rights of its principal, and a share of the connections. One user may
 * use half of them, and so may all users of one tenant together, and all searches. Writes, which may wait for a lock, leave one
 * connection for reads; the searches of a tenant leave one of its share. Short reads have a connection of their own. Services
 * are trusted and have no limit of their own.
 */
export function apiDatabase(pool: pg.Pool, short: pg.Pool, connections: number): DatabaseFor {
  const half = Math.ceil(connections / 2);
  const users = new Shares(half, MAX_WAITING);
  const tenants = new Shares(half, MAX_WAITING_TENANT);
  const tenantSearches = new Shares(Math.max(1, half - 1), Number.POSITIVE_INFINITY);
  const uses: Readonly<Record<Exclude<Use, 'read' | 'short'>, Shares>> = {
    search: new Shares(half, Number.POSITIVE_INFINITY),
    write: new Shares(Math.max(1, connections - 1), Number.POSITIVE_INFINITY),
  };
  return ({ principal, requestId, use, tenant, gone }): Database => {
    if (use === 'short') return principalDatabase(short, principal, requestId, true);
    const own = principalDatabase(pool, principal, requestId, use !== 'write');
    const inTurn = use === 'read' ? own : uses[use].of(use, own, gone);
    if (principal.role === 'service_role') return inTurn;
    const ofTenant = tenant === undefined ? inTurn : tenants.of(tenant, inTurn, gone);
    // Before the line of the tenant: a search that waits for its turn must not hold a place there.
    const inShare = use === 'search' && tenant !== undefined ? tenantSearches.of(tenant, ofTenant, gone) : ofTenant;
    return users.of(`${principal.role} ${principal.subject}`, inShare, gone);
  };
}
