import { Searches } from '../../limits/search.js';
import type { Route } from '../../ports/route.js';
import { Progresses } from '../reads/progress.js';
import { Statuses, type StatusesOptions } from '../reads/status.js';
import { ofExecutions } from '../schema.js';
import { executionRoutes } from './executions.js';
import { logsRoute } from './logs.js';
import { progressRoutes } from './progress.js';
import { writeRoutes } from './writes.js';

interface ExecutionApiOptions extends Omit<StatusesOptions, 'progresses'> {
  /** Where the tables of executions are, as SQL writes the name. */
  readonly schema: string;
}

/** All routes of executions. */
export function executionApi({ schema, access, everything }: ExecutionApiOptions): Route[] {
  const progresses = new Progresses();
  const statuses = new Statuses({ progresses, access, everything: ofExecutions(everything, schema) });
  const searches = new Searches();
  const routes = [...executionRoutes(progresses), logsRoute(searches), ...progressRoutes(statuses), ...writeRoutes()];
  return routes.map((route) => ({
    ...route,
    handle: (given) =>
      route.handle({
        ...given,
        database: ofExecutions(given.database, schema),
        searching: ofExecutions(given.searching, schema),
      }),
  }));
}
