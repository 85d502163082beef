import { Progresses } from '../../executions/reads/progress.js';
import { Searches } from '../../executions/reads/search.js';
import { Statuses, type StatusesOptions } from '../../executions/reads/status.js';
import { executionRoutes } from './reads-executions.js';
import { logsRoute } from './reads-logs.js';
import { progressRoutes } from './reads-progress.js';
import type { Route } from './route.js';

export interface ReadRoutesOptions extends Omit<StatusesOptions, 'progresses'> {
  /** Connections to the database that all routes together have. */
  readonly connections: number;
}

/** All routes that read. */
export function readRoutes({ connections, ...options }: ReadRoutesOptions): Route[] {
  const progresses = new Progresses();
  const statuses = new Statuses({ progresses, ...options });
  const searches = new Searches(Math.ceil(connections / 2));
  return [...executionRoutes(progresses), logsRoute(searches), ...progressRoutes(statuses)];
}
