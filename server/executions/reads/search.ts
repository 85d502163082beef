/**
 * Searches the log of one execution, from the newest row back. A statement looks at no more than `MAX_SEARCHED` rows, whatever the
 * size of the log, and its answer says which.
 */
import { z } from 'zod';
import type { Database } from '../../ports/database.js';
import { refuseUnseen } from '../rules/existence.js';
import { EPOCH, FLOOR, HEAD } from '../rules/position.js';
import { LOG_COLUMNS, log } from '../rules/rows.js';
import { collected, containing, PAGE_BYTES } from './logs.js';

/** The number of rows that one statement looks at. */
export const MAX_SEARCHED = 20_000;

/** A search in one execution. Undefined fields do not restrict it. */
export interface Search {
  readonly limit: number;
  /** Both seqs are exclusive. */
  readonly before?: number | undefined;
  readonly after?: number | undefined;
  readonly levels?: readonly string[] | undefined;
  readonly types?: readonly string[] | undefined;
  readonly agent?: string | undefined;
  /** Text in the message, case-insensitive. */
  readonly text?: string | undefined;
}

const found = z.object({
  epoch: z.string(),
  head: z.int(),
  /** The seqs that were asked for begin with `first`; those that were searched are `from` to `to`, none if `from` is `to` + 1. */
  first: z.int(),
  from: z.int(),
  to: z.int(),
  total: z.int(),
  logs: z.array(log),
});

export interface Found extends z.output<typeof found> {
  /** The `before` with which the search goes on; null if everything that was asked for has been searched and returned. */
  readonly next: number | null;
}

/** Rejects with `Refusal` (unknown_execution, forbidden). */
export function searchLogs(database: Database, id: string, search: Search): Promise<Found> {
  const { text, values } = statementOf(id, search);
  return database.transaction(async (sql) => {
    const [row] = await sql.query(text, values, found);
    if (row === undefined) return refuseUnseen(sql, 'execution', id);
    const { logs, total, first, from } = row;
    const last = logs.at(-1);
    const rest = last !== undefined && total > logs.length ? last.seq : from > first ? from : null;
    return { ...row, next: rest };
  });
}

function statementOf(id: string, { limit, before, after, levels, types, agent, text }: Search) {
  const { values, add } = collected();
  const execution = add(id);
  const conditions = [
    levels && `l.log_level::text = ANY (${add(levels)})`,
    types && `l.event_type = ANY (${add(types)})`,
    agent && `l.context ->> 'agent' = ${add(agent)}`,
    text && `l.message ILIKE ${add(containing(text))}`,
  ];
  const matching = conditions.filter(Boolean).join(' AND ') || 'true';
  const most = add(limit);
  return {
    values,
    text: `
    WITH bounds AS (
      SELECT e.execution_id, ${EPOCH} AS epoch, h.head, least(h.head, ${add(before ?? null)}::bigint - 1) AS last,
             greatest(h.floor, ${add(after ?? 0)}::bigint + 1) AS first
        FROM @extschema@.agent_executions e CROSS JOIN LATERAL (SELECT ${HEAD} AS head, ${FLOOR} AS floor) h
       WHERE e.execution_id = ${execution}),
    searched AS (
      SELECT *, least(greatest(first, last - ${MAX_SEARCHED} + 1), greatest(last, first - 1) + 1) AS begin,
             greatest(last, first - 1) AS finish FROM bounds),
    matches AS MATERIALIZED (
      SELECT l.seq FROM searched s JOIN @extschema@.agent_execution_logs l
          ON l.execution_id = s.execution_id AND l.seq BETWEEN s.begin AND s.finish AND ${matching}),
    page AS (
      SELECT ${LOG_COLUMNS} FROM @extschema@.agent_execution_logs l
       WHERE l.execution_id = ${execution} AND l.seq IN (SELECT seq FROM matches ORDER BY seq DESC LIMIT ${most})),
    encoded AS (
      SELECT row_to_json(page) AS row, seq, row_number() OVER w AS nth, sum(octet_length(row_to_json(page)::text)) OVER w AS bytes
        FROM page WINDOW w AS (ORDER BY seq DESC))
    SELECT epoch, head::float8 AS head, first::float8 AS first, begin::float8 AS "from", finish::float8 AS "to",
           (SELECT count(*)::int FROM matches) AS total,
           (SELECT coalesce(json_agg(row ORDER BY nth), '[]') FROM encoded WHERE nth = 1 OR bytes <= ${PAGE_BYTES}) AS logs
      FROM searched`,
  };
}
