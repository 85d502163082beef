/**
 * The routes that read executions: a list with the progress of each, and the snapshot of one execution with the position
 * from which a subscription continues it.
 */
import { STATE_VERSION, stepsOf } from '@rowcast/client/progress';
import { formatPosition } from '@rowcast/client/protocol';
import { z } from 'zod';
import { cursor, pageLimit, pagination, paginationOf } from '../../http/api/paging.js';
import { InvalidRequest } from '../../http/api/problem.js';
import { type Route, route } from '../../ports/route.js';
import { readMany, readOfVenture } from '../reads/lists.js';
import type { Progresses } from '../reads/progress.js';
import { metricsOfSnapshot, readSnapshot } from '../reads/snapshot.js';
import { execution, log, position, status } from '../rules/rows.js';
import { conditional, etag, unchanged } from './conditional.js';
import * as parameters from './parameters.js';
import * as views from './responses.js';

/** The maximum and the default number of log rows in a snapshot. */
const MAX_LOGS = 1_000;
const LOGS = 100;

/** The maximum and the default number of executions on a page. */
const MAX_LISTED = 100;
const LISTED = 20;

const params = z.object({ execution_id: parameters.executionId });
const LOGS_WANTED = `must be all, none, or 1 to ${MAX_LOGS}`;
const logsWanted = z
  .string()
  .regex(/^(all|none|[1-9]\d{0,2}|1000)$/, LOGS_WANTED)
  .default(String(LOGS))
  .meta({
    description: `The number of last rows, 1 to ${MAX_LOGS}; \`none\`; or \`all\`, from the first row on, ${MAX_LOGS} per response.`,
  });

/** Returns the routes that read executions. */
export function executionRoutes(progresses: Progresses): Route[] {
  const list = route({
    method: 'get',
    path: '/agents/executions',
    id: 'listExecutions',
    tag: 'Executions',
    summary: 'Many executions at once',
    description: 'Either those of a venture, newest first, or those with the given ids.',
    query: z
      .strictObject({
        venture_id: parameters.ventureId.optional(),
        ids: parameters.ids.optional(),
        status: parameters.statuses.optional(),
        limit: pageLimit(MAX_LISTED, LISTED),
        cursor: cursor.optional(),
        counts: z.literal('1').optional().meta({
          description: 'Adds `counts`: how many executions of each status the venture has, whatever `status` is.',
        }),
      })
      .refine(({ venture_id, ids }) => (venture_id === undefined) !== (ids === undefined), {
        path: ['venture_id'],
        message: 'either venture_id or ids is required, and not both',
      })
      .refine(({ ids, status, cursor, counts }) => ids === undefined || (status ?? cursor ?? counts) === undefined, {
        path: ['ids'],
        message: 'cannot be combined with status, cursor or counts',
      }),
    responses: {
      200: {
        description: 'The executions.',
        body: z.object({
          executions: z.array(views.listedView),
          missing: z
            .array(z.guid())
            .meta({ description: 'Those of `ids` that do not exist, or that you may not see.' }),
          counts: z.record(status, z.int()).optional().meta({ description: 'Only with `counts=1`.' }),
          remaining: z
            .array(z.guid())
            .meta({ description: 'Those of `ids` that did not fit: a response has up to 1 MiB. Ask for them again.' }),
          position: position.nullable().meta({
            description:
              'The position of the channel `venture:<venture_id>` at the moment of the page. Subscribe from that of the first page. Null with `ids`, and if you may not read that channel.',
          }),
          pagination: pagination.nullable().meta({ description: 'Null with `ids`, which all fit on one page.' }),
        }),
      },
    },
    refusals: ['unknown_venture'],
    async handle({ query, database }) {
      const { venture_id, ids, status, limit, cursor: after, counts } = query;
      const now = Date.now();
      if (venture_id === undefined) {
        const unique = [...new Set(ids)];
        const { executions: found, remaining } = await readMany(database, progresses, unique);
        const executions = found.map((standing) => views.listedOf(standing, now));
        const known = new Set([...executions.map(({ execution_id }) => execution_id), ...remaining]);
        const missing = unique.filter((id) => !known.has(id));
        return { status: 200, body: { executions, missing, remaining, position: null, pagination: null } };
      }
      const page = await readOfVenture(database, progresses, {
        ventureId: venture_id,
        statuses: status,
        limit,
        after,
        counts: counts !== undefined,
      });
      const executions = page.executions.map((standing) => views.listedOf(standing, now));
      const last = executions.at(-1);
      const pagination = paginationOf(limit, page.more, last && { at: last.created_at, id: last.execution_id });
      return {
        status: 200,
        body: {
          executions,
          missing: [],
          remaining: [],
          ...(page.counts !== null && { counts: page.counts }),
          position: page.position,
          pagination,
        },
      };
    },
  });

  const snapshot = route({
    method: 'get',
    path: '/agents/executions/:execution_id',
    id: 'getExecution',
    tag: 'Executions',
    summary: 'One execution, and the position to subscribe from',
    description: `The record, its log, its metrics and its progress, all from one snapshot. Subscribe to \`channel\` with
\`since=<position>\`: the events continue the response without a gap and without a duplicate.

If \`next\` is not null the log has more rows: repeat the request with \`logs=all&since=<next>\` until it is null, and
subscribe from the \`position\` of the last response.`,
    params,
    query: z.strictObject({
      logs: logsWanted,
      since: parameters.since.optional().meta({
        description:
          'Returns the rows after this seq or position, instead of the last ones. `start`: from the first row on.',
      }),
      state: z.literal('1').optional().meta({
        description: 'Adds `state`, from which a client continues to compute the progress.',
      }),
    }),
    headers: conditional,
    responses: {
      200: {
        description: 'The execution.',
        headers: etag,
        body: z.object({
          execution,
          channel: z.string(),
          position,
          logs: z.array(log).meta({ description: 'In order of seq.' }),
          next: position
            .nullable()
            .meta({ description: 'Where to continue the log if it did not fit; otherwise null.' }),
          steps: z.array(views.stepView).meta({ description: 'In the order in which they began: the latest 1,000.' }),
          metrics: metricsOfSnapshot.meta({ description: 'The latest value of each name.' }),
          progress: views.progressView,
          state: views.stateView.optional(),
        }),
      },
      304: unchanged,
    },
    refusals: ['unknown_execution', 'position_gone'],
    async handle({ params, query, database }) {
      const limit = query.logs === 'none' ? 0 : query.logs === 'all' ? MAX_LOGS : Number(query.logs);
      if (limit === 0 && query.since !== undefined) {
        throw new InvalidRequest([{ path: 'query.since', message: 'cannot be combined with logs=none' }]);
      }
      const since = query.since ?? (query.logs === 'all' ? 'start' : undefined);
      const { standing, logs, metrics, next } = await readSnapshot(database, progresses, params.execution_id, {
        limit,
        since,
      });
      const body = {
        execution: standing.record,
        channel: `execution:${params.execution_id}`,
        position: views.positionOf(standing),
        logs,
        next: next && formatPosition(next),
        steps: stepsOf(standing.state).map(views.stepOf),
        metrics,
        progress: views.progressOf(standing, Date.now()),
        ...(query.state === undefined ? {} : { state: { version: STATE_VERSION, progress: standing.state } }),
      };
      return { status: 200, body, ...views.cachingOf(standing, `-${limit}-${since ?? ''}-${query.state ?? ''}`) };
    },
  });

  return [list, snapshot];
}
