import { z } from 'zod';
import { Searches } from '../../limits/search.js';
import type { Route } from '../../ports/route.js';
import type { Progresses } from '../reads/progress.js';
import { Statuses, type StatusesOptions } from '../reads/status.js';
import { ofExecutions } from '../schema.js';
import { executionRoutes } from './executions.js';
import { logRoutes } from './logs.js';
import { progressRoutes } from './progress.js';
import { type WriteBounds, writeRoutes } from './writes.js';

interface ExecutionApiOptions extends Omit<StatusesOptions, 'progresses'> {
  /** The schema of the tables, as SQL writes its name. */
  readonly schema: string;
  readonly progresses: Progresses;
  readonly bounds: WriteBounds;
}

/** The names of what a request is about, in its path or query. */
const named = z.object({ execution_id: z.string().optional(), venture_id: z.string().optional() });

/** Returns all routes of executions. */
export function executionApi(options: ExecutionApiOptions): Route[] {
  const { schema, progresses, access, bounds } = options;
  const serviceDatabase = ofExecutions(options.serviceDatabase, schema);
  const foldingDatabase = ofExecutions(options.foldingDatabase, schema);
  const statuses = new Statuses({ progresses, access, serviceDatabase, foldingDatabase });
  const searches = new Searches();
  const routes = [
    ...executionRoutes(progresses),
    ...logRoutes(searches),
    ...progressRoutes(statuses),
    ...writeRoutes(bounds),
  ];
  const admit: Route['admit'] = async ({ params, principal, database }) => {
    const { execution_id } = named.parse(Object(params));
    if (execution_id !== undefined) await statuses.admit(principal, ofExecutions(database, schema), execution_id);
  };
  return routes.map((route) => ({
    ...route,
    tenantOf: (parts) => {
      const { execution_id, venture_id } = named.parse({ ...Object(parts.query), ...Object(parts.params) });
      return venture_id ?? (execution_id === undefined ? undefined : progresses.ventureOf(execution_id));
    },
    ...(route.body !== undefined && { admit }),
    handle: (input) =>
      route.handle({
        ...input,
        database: ofExecutions(input.database, schema),
        searching: ofExecutions(input.searching, schema),
      }),
  }));
}
