import { Searches } from '../../limits/search.js';
import type { Route } from '../../ports/route.js';
import { Progresses } from '../reads/progress.js';
import { Statuses, type StatusesOptions } from '../reads/status.js';
import { executionRoutes } from './executions.js';
import { logsRoute } from './logs.js';
import { progressRoutes } from './progress.js';
import { writeRoutes } from './writes.js';

/** All routes of executions. */
export function executionApi(options: Omit<StatusesOptions, 'progresses'>): Route[] {
  const progresses = new Progresses();
  const statuses = new Statuses({ progresses, ...options });
  const searches = new Searches();
  return [...executionRoutes(progresses), logsRoute(searches), ...progressRoutes(statuses), ...writeRoutes()];
}
