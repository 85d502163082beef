import { stepsOf } from '@rowcast/client/progress';
import { formatPosition } from '@rowcast/client/protocol';
import { z } from 'zod';
import { cursor, pageLimit, pagination, paginationOf } from '../../http/api/paging.js';
import { InvalidRequest } from '../../http/api/problem.js';
import { type Route, route } from '../../ports/route.js';
import { readMany, readOfVenture } from '../reads/lists.js';
import type { Progresses } from '../reads/progress.js';
import { metricsOfSnapshot, readSnapshot } from '../reads/snapshot.js';
import { execution, log, position } from '../rules/rows.js';
import { conditional, etag, unchanged } from './answers.js';
import * as parameters from './parameters.js';
import * as views from './responses.js';

/** Rows of the log in one snapshot, and if it is not said. */
const MAX_LOGS = 1_000;
const LOGS = 100;

/** Executions of one page, and if it is not said. */
const MAX_LISTED = 100;
const LISTED = 20;

const params = z.object({ execution_id: parameters.executionId });
const LOGS_WANTED = `must be all, none, or 1 to ${MAX_LOGS}`;
const logsWanted = z
  .string()
  .regex(/^(all|none|[1-9]\d{0,2}|1000)$/, LOGS_WANTED)
  .default(String(LOGS))
  .meta({
    description: `The last so many rows, 1 to ${MAX_LOGS}; \`none\`; or \`all\`: from the first one on, ${MAX_LOGS} in one answer.`,
  });

/** One execution, or many at once. */
export function executionRoutes(progresses: Progresses): Route[] {
  const list = route({
    method: 'get',
    path: '/agents/executions',
    id: 'listExecutions',
    tag: 'Executions',
    summary: 'Many executions at once',
    description: 'Either those of a venture, the newest first, or those whose ids you name.',
    query: z
      .strictObject({
        venture_id: parameters.ventureId.optional(),
        ids: parameters.ids.optional(),
        status: parameters.statuses.optional(),
        limit: pageLimit(MAX_LISTED, LISTED),
        cursor: cursor.optional(),
      })
      .refine(({ venture_id, ids }) => (venture_id === undefined) !== (ids === undefined), {
        path: ['venture_id'],
        message: 'give either venture_id or ids',
      })
      .refine(({ ids, status, cursor }) => ids === undefined || (status === undefined && cursor === undefined), {
        path: ['ids'],
        message: 'goes without status and cursor',
      }),
    answers: {
      200: {
        description: 'The executions.',
        body: z.object({
          executions: z.array(views.listedView),
          missing: z.array(z.guid()).meta({ description: 'Of `ids`: those that are not there, or not yours to see.' }),
          pagination: pagination.nullable().meta({ description: 'Null with `ids`: they all fit.' }),
        }),
      },
    },
    refusals: ['unknown_venture'],
    async handle({ query, database }) {
      const { venture_id, ids, status, limit, cursor: after } = query;
      const now = Date.now();
      if (venture_id === undefined) {
        const asked = [...new Set(ids)];
        const found = await readMany(database, progresses, asked);
        const executions = found.map((standing) => views.listedOf(standing, now));
        const there = new Set(executions.map(({ execution_id }) => execution_id));
        return { status: 200, body: { executions, missing: asked.filter((id) => !there.has(id)), pagination: null } };
      }
      const page = await readOfVenture(database, progresses, { ventureId: venture_id, statuses: status, limit, after });
      const executions = page.executions.map((standing) => views.listedOf(standing, now));
      const last = executions.at(-1);
      const pagination = paginationOf(limit, page.more, last && { at: last.created_at, id: last.execution_id });
      return { status: 200, body: { executions, missing: [], pagination } };
    },
  });

  const snapshot = route({
    method: 'get',
    path: '/agents/executions/:execution_id',
    id: 'getExecution',
    tag: 'Executions',
    summary: 'One execution, and the position to subscribe from',
    description: `The record, its log, its metrics and its progress, all of one moment. Subscribe to \`channel\` with
\`since=<position>\`: what you were given and what you receive then join without a gap and without a repetition.

Where \`next\` is not null the log goes on: ask again with \`logs=all&since=<next>\` until it is null, and subscribe from the
\`position\` of the last answer.`,
    params,
    query: z.strictObject({
      logs: logsWanted,
      since: parameters.since.optional().meta({
        description:
          'Rows that follow this seq or position, in place of the last ones; `start`: from the first one on.',
      }),
    }),
    headers: conditional,
    answers: {
      200: {
        description: 'The execution.',
        headers: etag,
        body: z.object({
          execution,
          channel: z.string(),
          position,
          logs: z.array(log).meta({ description: 'In the order of their seq.' }),
          next: position.nullable().meta({ description: 'Where the log goes on if it did not fit; else null.' }),
          steps: z.array(views.stepView).meta({ description: 'In the order in which they began; the latest 1,000.' }),
          metrics: metricsOfSnapshot.meta({ description: 'The latest value of each name.' }),
          progress: views.progressView,
        }),
      },
      304: unchanged,
    },
    refusals: ['unknown_execution', 'position_gone'],
    async handle({ params, query, database }) {
      const limit = query.logs === 'none' ? 0 : query.logs === 'all' ? MAX_LOGS : Number(query.logs);
      if (limit === 0 && query.since !== undefined) {
        throw new InvalidRequest([{ path: 'query.since', message: 'goes without logs=none' }]);
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
      };
      return { status: 200, body, ...views.cachingOf(standing, `-${limit}-${since ?? ''}`) };
    },
  });

  return [list, snapshot];
}
