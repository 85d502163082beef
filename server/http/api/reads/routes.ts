import { Progresses } from '../../../executions/reads/progress.js';
import { Searches } from '../../../executions/reads/search.js';
import { Statuses, type StatusesOptions } from '../../../executions/reads/status.js';
import type { Route } from '../route.js';
import { executionRoutes } from './executions.js';
import { logsRoute } from './logs.js';
import { progressRoutes } from './progress.js';

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
