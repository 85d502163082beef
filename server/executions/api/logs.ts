import { z } from 'zod';
import { cursor, pageLimit, pagination, paginationOf, wholeNumber } from '../../http/api/paging.js';
import type { Searches } from '../../limits/search.js';
import { type Route, route } from '../../ports/route.js';
import { type LogsQuery, MAX_TOTAL, readLogs } from '../reads/logs.js';
import { log } from '../rules/rows.js';
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

/** Returns the route that lists the logs of a venture. */
export function logsRoute(searches: Searches): Route {
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
