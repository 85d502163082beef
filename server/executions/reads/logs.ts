import { z } from 'zod';
import type { ListCursor } from '../../http/api/paging.js';
import type { Database, Sql } from '../../ports/database.js';
import { findVenture } from '../rules/existence.js';
import { LOG_COLUMNS, type LogRow, log } from '../rules/rows.js';

/** Bytes of rows in one answer, but for its first row: more follow with the next page. */
export const PAGE_BYTES = 4 * 1024 * 1024;

/** Counting further than this would cost more than the page itself. */
export const MAX_TOTAL = 10_000;

/** Which logs of a venture. What is undefined leaves none out. */
export interface LogFilter {
  /** Of their executions. */
  readonly statuses?: readonly string[] | undefined;
  readonly levels?: readonly string[] | undefined;
  /** Times that PostgreSQL reads; `to` itself does not belong to it. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** Text in the message, whatever its case. */
  readonly text?: string | undefined;
}

export interface LogsQuestion extends LogFilter {
  readonly ventureId: string;
  readonly limit: number;
  /** Exclude each other. */
  readonly after?: ListCursor | undefined;
  readonly offset?: number | undefined;
}

export interface LogsPage {
  readonly logs: readonly LogRow[];
  readonly more: boolean;
  /** Where an offset was asked for: of all rows that match; null where there are more than `MAX_TOTAL`. */
  readonly total: number | null;
}

/** Executions that a search by level or text goes through: those with the newest rows. */
export const MAX_SEARCHED = 100_000;

/** Executions whose rows are read first; four times as many each time that they are too few for the page. */
const FIRST_EXECUTIONS = 4;
const GROWTH = 4;

const placeRow = z.object({ id: z.string(), created_at: z.string(), log_id: z.string() });
type Place = z.output<typeof placeRow>;

const logRow = z.object({ row: log, followed: z.boolean() });

/**
 * The logs of all executions of a venture, newest first. One probe finds the newest row of each execution; then rows of
 * those executions alone are read whose newest are the newest, down to the newest row of the next one. Other ventures,
 * however large, cost nothing.
 */
export function readLogs(database: Database, question: LogsQuestion): Promise<LogsPage> {
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

/** The newest row of each execution, the newest first. */
function readNewest(sql: Sql, question: LogsQuestion): Promise<Place[]> {
  const { values, add } = parameters();
  const text = `
    SELECT e.execution_id AS id, l.created_at::text, l.log_id FROM @extschema@.agent_executions e CROSS JOIN LATERAL (
        SELECT l.created_at, l.log_id FROM @extschema@.agent_execution_logs l
         WHERE ${inTime(add, question)} ORDER BY l.created_at DESC, l.log_id DESC LIMIT 1) l
     WHERE ${ofExecutions(add, question)}
     ORDER BY l.created_at DESC, l.log_id DESC LIMIT ${add(executionsOn(question))}`;
  return sql.query(text, values, placeRow);
}

/** Each row of a page may be of another execution; of those that are left out by what they say nobody knows how many. */
function executionsOn(question: LogsQuestion): number {
  const { levels, text } = question;
  return levels === undefined && text === undefined ? wantedRows(question) : MAX_SEARCHED;
}

/** One more row than the page has tells whether there is another page. */
function wantedRows({ offset = 0, limit }: LogsQuestion): number {
  return offset + limit + 1;
}

async function readPage(
  sql: Sql,
  question: LogsQuestion,
  newest: readonly Place[],
): Promise<z.output<typeof logRow>[]> {
  for (let executions = FIRST_EXECUTIONS; ; executions *= GROWTH) {
    const { text, values } = pageStatement(question, newest.slice(0, executions), newest[executions]);
    const rows = await sql.query(text, values, logRow);
    if (newest.length <= executions || rows.length > question.limit || rows.at(-1)?.followed) return rows;
  }
}

/** Collects the values of a statement. */
function parameters(): { readonly values: unknown[]; add(value: unknown): string } {
  const values: unknown[] = [];
  return { values, add: (value) => `$${values.push(value)}` };
}

type Add = (value: unknown) => string;

function ofExecutions(add: Add, { ventureId, statuses }: LogsQuestion): string {
  const ofStatus = statuses === undefined ? '' : ` AND e.status::text = ANY (${add(statuses)})`;
  return `e.venture_id = ${add(ventureId)}${ofStatus}`;
}

/** When: the index answers it. */
function inTime(add: Add, { from, to, after }: LogsQuestion): string {
  const conditions = [
    'l.execution_id = e.execution_id',
    from && `l.created_at >= ${add(from)}::timestamptz`,
    to && `l.created_at < ${add(to)}::timestamptz`,
    after && `(l.created_at, l.log_id) < (${add(after.at)}::timestamptz, ${add(after.id)}::uuid)`,
  ];
  return conditions.filter(Boolean).join(' AND ');
}

/** What they say: each row is looked at. */
function saying(add: Add, { levels, text }: LogFilter): string {
  const conditions = [
    levels && `l.log_level::text = ANY (${add(levels)})`,
    text && `l.message ILIKE ${add(`%${text.replaceAll(/[\\%_]/g, '\\$&')}%`)}`,
  ];
  return conditions.filter(Boolean).join(' AND ') || 'true';
}

/** Rows of these executions that are newer than `until`. */
function pageStatement(question: LogsQuestion, places: readonly Place[], until: Place | undefined) {
  const { values, add } = parameters();
  const most = add(wantedRows(question));
  const conditions = [
    inTime(add, question),
    saying(add, question),
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

async function countLogs(sql: Sql, question: LogsQuestion): Promise<number | null> {
  const { values, add } = parameters();
  const text = `
    SELECT count(*)::int AS total FROM (
      SELECT FROM @extschema@.agent_executions e JOIN @extschema@.agent_execution_logs l ON ${inTime(add, question)} AND ${saying(add, question)}
       WHERE ${ofExecutions(add, question)} LIMIT ${MAX_TOTAL + 1}) matching`;
  const [counted] = await sql.query(text, values, z.object({ total: z.int() }));
  return counted === undefined || counted.total > MAX_TOTAL ? null : counted.total;
}
