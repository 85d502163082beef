import { Progresses } from '../../executions/reads-progress.js';
import { Statuses, type StatusesOptions } from '../../executions/reads-status.js';
import { executionRoutes } from './reads-executions.js';
import { logsRoute } from './reads-logs.js';
import { progressRoutes } from './reads-progress.js';
import type { Route } from './route.js';

/** All routes that read. */
export function readRoutes(options: Omit<StatusesOptions, 'progresses'>): Route[] {
  const progresses = new Progresses();
  const statuses = new Statuses({ progresses, ...options });
  return [...executionRoutes(progresses), logsRoute, ...progressRoutes(statuses)];
}
