import type { Route } from '../../http/api/route.js';
import { Searches } from '../../limits/search.js';
import { Progresses } from '../reads/progress.js';
import { Statuses, type StatusesOptions } from '../reads/status.js';
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
