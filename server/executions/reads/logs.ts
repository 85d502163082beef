/**
 * Reads pages of the logs of a venture, with filters and search. The statements are bounded by the executions and rows of a
 * page, not by the size of the tables, so that a large venture cannot slow down others.
 */
import { z } from 'zod';
import type { PageToken } from '../../http/api/paging.js';
import type { Database, Sql } from '../../ports/database.js';
import { findVenture } from '../rules/existence.js';
import { LOG_COLUMNS, type LogRow, log } from '../rules/rows.js';

/** Maximum size of the rows of a page, in bytes. The first row is included whatever its size. */
export const PAGE_BYTES = 1024 * 1024;

/** Maximum total that is counted. Beyond it, counting would cost more than reading the page. */
export const MAX_TOTAL = 10_000;

/** A filter for logs. Undefined fields do not restrict it. */
export interface LogFilter {
  /** Statuses of the executions. */
  readonly statuses?: readonly string[] | undefined;
  readonly levels?: readonly string[] | undefined;
  /** Times in a form that PostgreSQL reads; `to` is exclusive. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** Text in the message, case-insensitive. */
  readonly text?: string | undefined;
}

export interface LogsQuery extends LogFilter {
  readonly ventureId: string;
  readonly limit: number;
  /** At most one of `after` and `offset` is set. */
  readonly after?: PageToken | undefined;
  readonly offset?: number | undefined;
}

export interface LogsPage {
  readonly logs: readonly LogRow[];
  readonly more: boolean;
  /** The number of matching rows, if `offset` is set; null without it, or if there are more than `MAX_TOTAL`. */
  readonly total: number | null;
}

/** Maximum number of executions that a search by level or text covers: those with the newest rows. */
export const MAX_SEARCHED = 100_000;

/** The number of executions whose rows are read first. It grows by a factor each time that their rows do not fill the page. */
const FIRST_EXECUTIONS = 4;
const GROWTH = 4;

const placeRow = z.object({ id: z.string(), created_at: z.string(), log_id: z.string() });
type Place = z.output<typeof placeRow>;

const logRow = z.object({ row: log, followed: z.boolean() });

/**
 * Reads a page of the logs of all executions of a venture, newest first. An index probe finds the newest row of each
 * execution. Then the rows of the executions with the newest rows are read, down to the newest row of the next execution.
 * Rejects with `Refusal` (unknown_venture, forbidden).
 */
export function readLogs(database: Database, question: LogsQuery): Promise<LogsPage> {
  return database.transaction(async (sql) => {
    const { limit, offset } = question;
    const newest = await readNewest(sql, question);
    if (newest.length === 0) await findVenture(sql, question.ventureId);
    const rows = newest.length === 0 ? [] : await readPage(sql, question, newest);
    const more = rows.length > limit || (rows.at(-1)?.followed ?? false);
    const total = offset === undefined ? null : await countLogs(sql, question);
    return { logs: rows.slice(0, limit).map(({ row }) => row), more, total };
  });
}

/** Reads the newest row of each execution, newest first. */
function readNewest(sql: Sql, question: LogsQuery): Promise<Place[]> {
  const { values, add } = collected();
  const text = `
    SELECT e.execution_id AS id, l.created_at::text, l.log_id FROM @extschema@.agent_executions e CROSS JOIN LATERAL (
        SELECT l.created_at, l.log_id FROM @extschema@.agent_execution_logs l
         WHERE ${inTime(add, question)} ORDER BY l.created_at DESC, l.log_id DESC LIMIT 1) l
     WHERE ${ofExecutions(add, question)}
     ORDER BY l.created_at DESC, l.log_id DESC LIMIT ${add(executionsOn(question))}`;
  return sql.query(text, values, placeRow);
}

/** The number of executions that are needed at most: one per row of the page. With a search it is unknown how many rows match. */
function executionsOn(question: LogsQuery): number {
  const { levels, text } = question;
  return levels === undefined && text === undefined ? wantedRows(question) : MAX_SEARCHED;
}

/** One more row than the page has, which shows whether there is another page. */
function wantedRows({ offset = 0, limit }: LogsQuery): number {
  return offset + limit + 1;
}

async function readPage(sql: Sql, question: LogsQuery, newest: readonly Place[]): Promise<z.output<typeof logRow>[]> {
  for (let executions = FIRST_EXECUTIONS; ; executions *= GROWTH) {
    const { text, values } = pageStatement(question, newest.slice(0, executions), newest[executions]);
    const rows = await sql.query(text, values, logRow);
    if (newest.length <= executions || rows.length > question.limit || rows.at(-1)?.followed) return rows;
  }
}

/** Collects the values of a statement. */
export function collected(): { readonly values: unknown[]; add(value: unknown): string } {
  const values: unknown[] = [];
  return { values, add: (value) => `$${values.push(value)}` };
}

type Add = (value: unknown) => string;

function ofExecutions(add: Add, { ventureId, statuses }: LogsQuery): string {
  const ofStatus = statuses === undefined ? '' : ` AND e.status::text = ANY (${add(statuses)})`;
  return `e.venture_id = ${add(ventureId)}${ofStatus}`;
}

/** The conditions that an index can evaluate. */
function inTime(add: Add, { from, to, after }: LogsQuery): string {
  const conditions = [
    'l.execution_id = e.execution_id',
    from && `l.created_at >= ${add(from)}::timestamptz`,
    to && `l.created_at < ${add(to)}::timestamptz`,
    after && `(l.created_at, l.log_id) < (${add(after.at)}::timestamptz, ${add(after.id)}::uuid)`,
  ];
  return conditions.filter(Boolean).join(' AND ');
}

/** The conditions that must be evaluated for each row. */
function matching(add: Add, { levels, text }: LogFilter): string {
  const conditions = [
    levels && `l.log_level::text = ANY (${add(levels)})`,
    text && `l.message ILIKE ${add(containing(text))}`,
  ];
  return conditions.filter(Boolean).join(' AND ') || 'true';
}

/** The pattern of LIKE for texts that contain this one. */
export function containing(text: string): string {
  return `%${text.replaceAll(/[\\%_]/g, '\\$&')}%`;
}

/** Selects rows of these executions that are newer than `until`. */
function pageStatement(question: LogsQuery, places: readonly Place[], until: Place | undefined) {
  const { values, add } = collected();
  const most = add(wantedRows(question));
  const conditions = [
    inTime(add, question),
    matching(add, question),
    until && `(l.created_at, l.log_id) > (${add(until.created_at)}::timestamptz, ${add(until.log_id)}::uuid)`,
  ];
  const text = `
    WITH page AS (
      SELECT l.* FROM unnest(${add(places.map(({ id }) => id))}::uuid[]) e(execution_id) CROSS JOIN LATERAL (
          SELECT ${LOG_COLUMNS} FROM @extschema@.agent_execution_logs l
           WHERE ${conditions.filter(Boolean).join(' AND ')} ORDER BY l.created_at DESC, l.log_id DESC LIMIT ${most}) l
       ORDER BY l.created_at DESC, l.log_id DESC OFFSET ${add(question.offset ?? 0)} LIMIT ${add(question.limit + 1)}),
    encoded AS (
      SELECT row_to_json(page) AS row, row_number() OVER w AS nth, count(*) OVER () AS rows,
             sum(octet_length(row_to_json(page)::text)) OVER w AS bytes
        FROM page WINDOW w AS (ORDER BY created_at DESC, log_id DESC))
    SELECT row, nth < rows AS followed FROM encoded
     WHERE nth = 1 OR bytes <= ${PAGE_BYTES} ORDER BY nth`;
  return { text, values };
}

async function countLogs(sql: Sql, question: LogsQuery): Promise<number | null> {
  const { values, add } = collected();
  const text = `
    SELECT count(*)::int AS total FROM (
      SELECT FROM @extschema@.agent_executions e JOIN @extschema@.agent_execution_logs l ON ${inTime(add, question)} AND ${matching(add, question)}
       WHERE ${ofExecutions(add, question)} LIMIT ${MAX_TOTAL + 1}) matching`;
  const [counted] = await sql.query(text, values, z.object({ total: z.int() }));
  return counted === undefined || counted.total > MAX_TOTAL ? null : counted.total;
}
