import { formatPosition } from '@rowcast/client/protocol';
import { z } from 'zod';
import { cursor, pageLimit, pagination, paginationOf, wholeNumber } from '../../http/api/paging.js';
import type { Searches } from '../../limits/search.js';
import { type Route, route } from '../../ports/route.js';
import { type LogsQuery, MAX_TOTAL, readLogs } from '../reads/logs.js';
import { MAX_SEARCHED, searchLogs } from '../reads/search.js';
import { log, position } from '../rules/rows.js';
import * as parameters from './parameters.js';

/** The maximum and the default number of rows on a page. */
const MAX_ROWS = 1_000;
const ROWS = 50;

/** Maximum offset: the database reads and discards every row before the page. */
const MAX_OFFSET = 10_000;

const query = z
  .strictObject({
    limit: pageLimit(MAX_ROWS, ROWS),
    cursor: cursor.optional(),
    offset: wholeNumber(0, MAX_OFFSET)
      .optional()
      .meta({
        description: `Instead of \`cursor\`: the number of rows to skip, 0 to ${MAX_OFFSET}. Rows that are added in the meantime shift the pages.`,
      }),
    status_filter: parameters.statuses.optional(),
    date_range: parameters.dateRange.optional(),
    level: parameters.levels.optional(),
    q: parameters.searchText.optional(),
  })
  .refine(({ cursor, offset }) => cursor === undefined || offset === undefined, {
    path: ['offset'],
    message: 'cannot be combined with cursor',
  });

const answer = z.object({
  venture_id: z.guid(),
  logs: z.array(log),
  pagination: pagination.extend({
    offset: z.int().nullable(),
    total: z
      .int()
      .nullable()
      .meta({
        description: `The number of matching rows, if \`offset\` is set and there are at most ${MAX_TOTAL}; otherwise null.`,
      }),
  }),
});

/** Returns the routes that list and search logs. */
export function logRoutes(searches: Searches): Route[] {
  return [ofVenture(searches), ofExecution(searches)];
}

function ofVenture(searches: Searches): Route {
  return route({
    method: 'get',
    path: '/agents/execution-logs/:venture_id',
    id: 'listLogs',
    tag: 'Logs',
    summary: 'The logs of all executions of a venture',
    description: `Newest first. Follow \`next_cursor\` for more: each row that existed when you began is returned once, whatever is
written in the meantime. A page may have fewer rows than \`limit\` if they are large.`,
    params: z.object({ venture_id: parameters.ventureId }),
    query,
    responses: { 200: { description: 'A page of rows.', body: answer } },
    refusals: ['unknown_venture'],
    async handle({ params, query, principal, database, searching }) {
      const { limit, cursor: after, offset } = query;
      const question: LogsQuery = {
        ventureId: params.venture_id,
        limit,
        offset,
        after,
        statuses: query.status_filter,
        levels: query.level,
        text: query.q,
        ...query.date_range,
      };
      const isSearch = question.levels !== undefined || question.text !== undefined || offset !== undefined;
      const { logs, more, total } = await (isSearch
        ? searches.run(principal.subject, () => readLogs(searching, question))
        : readLogs(database, question));
      const last = logs.at(-1);
      const page = paginationOf(limit, more, last && { at: last.created_at, id: last.log_id });
      const pagination = { ...page, offset: offset ?? null, total };
      return { status: 200, body: { venture_id: params.venture_id, logs, pagination } };
    },
  });
}

const seq = wholeNumber(0, Number.MAX_SAFE_INTEGER);

const found = z.object({
  execution_id: z.guid(),
  logs: z.array(log).meta({ description: 'Newest first.' }),
  total: z.int().meta({ description: 'The number of matching rows in `searched`.' }),
  searched: z
    .object({ from: z.int(), to: z.int() })
    .meta({ description: 'The seqs that were searched, both inclusive; none if `from` is higher than `to`.' }),
  complete: z.boolean().meta({
    description: 'Whether `searched` is everything between `after` and `before`, so that `total` is the total of all.',
  }),
  next: z.int().nullable().meta({ description: 'The `before` of the next request; null if there are no more rows.' }),
  position,
});

function ofExecution(searches: Searches): Route {
  return route({
    method: 'get',
    path: '/agents/executions/:execution_id/logs',
    id: 'searchLogs',
    tag: 'Logs',
    summary: 'Search the log of an execution',
    description: `Newest first. A request searches up to ${MAX_SEARCHED.toLocaleString('en')} rows, and says which. To search the rest,
repeat it with \`before=<next>\` until \`next\` is null.`,
    params: z.object({ execution_id: parameters.executionId }),
    query: z.strictObject({
      limit: pageLimit(MAX_ROWS, ROWS),
      q: parameters.searchText.optional(),
      level: parameters.levels.optional(),
      event_type: parameters.eventTypes.optional(),
      agent: parameters.agent.optional(),
      before: seq.optional().meta({ description: 'Only rows with a lower seq.' }),
      after: seq.optional().meta({ description: 'Only rows with a higher seq.' }),
    }),
    responses: { 200: { description: 'The matching rows.', body: found } },
    refusals: ['unknown_execution'],
    async handle({ params, query, principal, searching }) {
      const { limit, before, after, q, level, event_type, agent } = query;
      const search = { limit, before, after, text: q, levels: level, types: event_type, agent };
      const { logs, total, first, from, to, next, epoch, head } = await searches.run(principal.subject, () =>
        searchLogs(searching, params.execution_id, search),
      );
      const body = {
        execution_id: params.execution_id,
        logs,
        total,
        searched: { from, to },
        complete: from <= first,
        next,
        position: formatPosition({ epoch, seq: head }),
      };
      return { status: 200, body };
    },
  });
}
