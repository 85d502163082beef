import { Progresses } from '../../../executions/reads/progress.js';
import { Searches } from '../../../executions/reads/search.js';
import { Statuses, type StatusesOptions } from '../../../executions/reads/status.js';
import type { Route } from '../route.js';
import { executionRoutes } from './executions.js';
import { logsRoute } from './logs.js';
import { progressRoutes } from './progress.js';

/** All routes that read. */
export function readRoutes(options: Omit<StatusesOptions, 'progresses'>): Route[] {
  const progresses = new Progresses();
  const statuses = new Statuses({ progresses, ...options });
  const searches = new Searches();
  return [...executionRoutes(progresses), logsRoute(searches), ...progressRoutes(statuses)];
}
