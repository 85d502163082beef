import { stepsOf } from '@rowcast/client/progress';
import { z } from 'zod';
import { cursor, pageLimit, pagination, paginationOf } from '../../http/api/paging.js';
import { type Route, route } from '../../ports/route.js';
import { readMetrics } from '../reads/lists.js';
import type { Statuses } from '../reads/status.js';
import { metric, position } from '../rules/rows.js';
import { conditional, etag, unchanged } from './conditional.js';
import * as parameters from './parameters.js';
import * as views from './responses.js';

/** The maximum and the default number of metrics on a page. */
const MAX_METRICS = 1_000;
const METRICS = 100;

const params = z.object({ execution_id: parameters.executionId });

/** Returns the routes that read the progress of an execution. */
export function progressRoutes(statuses: Statuses): Route[] {
  const status = route({
    method: 'get',
    path: '/agents/executions/:execution_id/status',
    id: 'getStatus',
    tag: 'Progress',
    summary: 'The status and progress of an execution',
    description: 'Small, for frequent polling. With `If-None-Match` a response without changes has no body.',
    params,
    query: z.strictObject({}),
    headers: conditional,
    responses: { 200: { description: 'The status.', headers: etag, body: views.statusView }, 304: unchanged },
    refusals: ['unknown_execution'],
    async handle({ params, principal, database }) {
      const standing = await statuses.of(principal, database, params.execution_id);
      return { status: 200, body: views.statusOf(standing, Date.now()), ...views.cachingOf(standing) };
    },
  });

  const steps = route({
    method: 'get',
    path: '/agents/executions/:execution_id/steps',
    id: 'listSteps',
    tag: 'Progress',
    summary: 'The steps of an execution',
    description: 'In the order in which they began: the latest 1,000. `counts` includes all of them.',
    params,
    query: z.strictObject({}),
    headers: conditional,
    responses: {
      200: {
        description: 'The steps.',
        headers: etag,
        body: z.object({ execution_id: z.guid(), steps: z.array(views.stepView), counts: views.steps, position }),
      },
      304: unchanged,
    },
    refusals: ['unknown_execution'],
    async handle({ params, principal, database }) {
      const standing = await statuses.of(principal, database, params.execution_id);
      const body = {
        execution_id: params.execution_id,
        steps: stepsOf(standing.state).map(views.stepOf),
        counts: views.progressOf(standing, Date.now()).steps,
        position: views.positionOf(standing),
      };
      return { status: 200, body, ...views.cachingOf(standing) };
    },
  });

  const metrics = route({
    method: 'get',
    path: '/agents/executions/:execution_id/metrics',
    id: 'listMetrics',
    tag: 'Progress',
    summary: 'The metrics of an execution',
    description: 'Every value that was recorded, newest first.',
    params,
    query: z.strictObject({
      name: parameters.metricName.optional().meta({ description: 'Only values of this name.' }),
      limit: pageLimit(MAX_METRICS, METRICS),
      cursor: cursor.optional(),
    }),
    responses: {
      200: {
        description: 'A page of values.',
        body: z.object({ execution_id: z.guid(), metrics: z.array(metric), position, pagination }),
      },
    },
    refusals: ['unknown_execution'],
    async handle({ params, query, database }) {
      const { name, limit, cursor: after } = query;
      const executionId = params.execution_id;
      const { metrics, more, position } = await readMetrics(database, { executionId, name, limit, after });
      const last = metrics.at(-1);
      const pagination = paginationOf(limit, more, last && { at: last.recorded_at, id: last.metric_id });
      return { status: 200, body: { execution_id: executionId, metrics, position, pagination } };
    },
  });

  return [status, steps, metrics];
}
