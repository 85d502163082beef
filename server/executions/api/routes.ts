import { Searches } from '../../limits/search.js';
import type { Route } from '../../ports/route.js';
import { Progresses } from '../reads/progress.js';
import { Statuses, type StatusesOptions } from '../reads/status.js';
import { ofExecutions } from '../schema.js';
import { executionRoutes } from './executions.js';
import { logRoutes } from './logs.js';
import { progressRoutes } from './progress.js';
import { writeRoutes } from './writes.js';

interface ExecutionApiOptions extends Omit<StatusesOptions, 'progresses'> {
  /** The schema of the tables, as SQL writes its name. */
  readonly schema: string;
}

/** Returns all routes of executions. */
export function executionApi({ schema, access, serviceDatabase }: ExecutionApiOptions): Route[] {
  const progresses = new Progresses();
  const statuses = new Statuses({ progresses, access, serviceDatabase: ofExecutions(serviceDatabase, schema) });
  const searches = new Searches();
  const routes = [
    ...executionRoutes(progresses),
    ...logRoutes(searches),
    ...progressRoutes(statuses),
    ...writeRoutes(),
  ];
  return routes.map((route) => ({
    ...route,
    handle: (input) =>
      route.handle({
        ...input,
        database: ofExecutions(input.database, schema),
        searching: ofExecutions(input.searching, schema),
      }),
  }));
}
