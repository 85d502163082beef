import { type ExecutionStatus, STATUSES } from '@rowcast/client/progress';
import { z } from 'zod';
import type { PageToken } from '../../http/api/paging.js';
import type { Database, Sql } from '../../ports/database.js';
import { findVenture, refuseUnseen } from '../rules/existence.js';
import { POSITION } from '../rules/position.js';
import { type MetricRow, metric, status } from '../rules/rows.js';
import { PAGE_BYTES } from './logs.js';
import type { ExecutionWithProgress, Progresses } from './progress.js';

export type StatusCounts = Readonly<Record<ExecutionStatus, number>>;

export interface Listed {
  readonly executions: readonly ExecutionWithProgress[];
  readonly more: boolean;
  /** How many the venture has of each status; null if they were not counted. */
  readonly counts: StatusCounts | null;
  /** The position of the channel of the venture, of the same snapshot; null if the principal may not read that channel. */
  readonly position: string | null;
}

/** SQL: the bytes of an execution `e` in a list; its metadata may be large. */
const BYTES = 'coalesce(octet_length(e.metadata::text), 0) + 500';

const fittingRow = z.object({ id: z.string(), fits: z.boolean() });

/**
 * Reads the executions with these ids that the principal may see, in the order of `ids`. `remaining`: ids that did not fit into
 * one response.
 */
export function readMany(
  database: Database,
  progresses: Progresses,
  ids: readonly string[],
): Promise<{ readonly executions: readonly ExecutionWithProgress[]; readonly remaining: readonly string[] }> {
  return database.transaction(async (sql) => {
    const text = `
      SELECT w.id::text, w.at = 1 OR coalesce(sum(${BYTES}) OVER (ORDER BY w.at), 0) <= ${PAGE_BYTES} AS fits
        FROM unnest($1::uuid[]) WITH ORDINALITY w(id, at)
        LEFT JOIN @extschema@.agent_executions e ON e.execution_id = w.id ORDER BY w.at`;
    const sized = await sql.query(text, [ids], fittingRow);
    const fitting = sized.filter(({ fits }) => fits).map(({ id }) => id);
    const found = await progresses.of(sql, fitting);
    return { executions: fitting.flatMap((id) => found.get(id) ?? []), remaining: ids.slice(fitting.length) };
  });
}

export interface ListQuery {
  readonly ventureId: string;
  readonly statuses?: readonly string[] | undefined;
  readonly limit: number;
  readonly after?: PageToken | undefined;
  /** Whether the executions of each status are counted. */
  readonly counts: boolean;
}

const CHANNEL_POSITION = `SELECT rowcast.position('venture:' || $1::uuid) AS position`;

/** Reads a page of executions of a venture, newest first. Rejects with `Refusal` (unknown_venture, forbidden). */
export function readOfVenture(database: Database, progresses: Progresses, question: ListQuery): Promise<Listed> {
  const { ventureId, statuses, limit, after, counts } = question;
  return database.transaction(async (sql) => {
    const text = `
      SELECT id, row_number() OVER page = 1 OR sum(bytes) OVER page <= ${PAGE_BYTES} AS fits FROM (
        SELECT e.execution_id AS id, e.created_at, ${BYTES} AS bytes FROM @extschema@.agent_executions e
         WHERE e.venture_id = $1 AND ($2::text[] IS NULL OR e.status::text = ANY ($2))
           AND ($3::timestamptz IS NULL OR (e.created_at, e.execution_id) < ($3, $4::uuid))
         ORDER BY e.created_at DESC, e.execution_id DESC LIMIT $5) e
      WINDOW page AS (ORDER BY created_at DESC, id DESC) ORDER BY created_at DESC, id DESC`;
    const values = [ventureId, statuses ?? null, after?.at ?? null, after?.id ?? null, limit + 1];
    const ids = await sql.query(text, values, fittingRow);
    if (ids.length === 0) await findVenture(sql, ventureId);
    const page = ids.slice(0, limit).filter(({ fits }) => fits);
    const pageIds = page.map(({ id }) => id);
    const found = page.length === 0 ? new Map<string, ExecutionWithProgress>() : await progresses.of(sql, pageIds);
    const [at] = await sql.query(CHANNEL_POSITION, [ventureId], z.object({ position: z.string().nullable() }));
    return {
      position: at?.position ?? null,
      executions: pageIds.flatMap((id) => found.get(id) ?? []),
      more: ids.length > page.length,
      counts: counts ? await countStatuses(sql, ventureId) : null,
    };
  });
}

async function countStatuses(sql: Sql, ventureId: string): Promise<StatusCounts> {
  const text = `SELECT e.status::text AS status, count(*)::int AS count FROM @extschema@.agent_executions e
    WHERE e.venture_id = $1 GROUP BY e.status`;
  const rows = await sql.query(text, [ventureId], z.object({ status, count: z.int() }));
  const counted = new Map(rows.map(({ status, count }) => [status, count]));
  return Object.fromEntries(STATUSES.map((status) => [status, counted.get(status) ?? 0])) as StatusCounts;
}

export interface MetricsQuery {
  readonly executionId: string;
  readonly name?: string | undefined;
  readonly limit: number;
  readonly after?: PageToken | undefined;
}

export interface MetricsPage {
  readonly metrics: readonly MetricRow[];
  readonly more: boolean;
  readonly position: string;
}

/** Reads a page of recorded values of an execution, newest first. Rejects with `Refusal` (unknown_execution, forbidden). */
export function readMetrics(database: Database, question: MetricsQuery): Promise<MetricsPage> {
  const { executionId, name, limit, after } = question;
  return database.transaction(async (sql) => {
    const text = `
      SELECT ${POSITION} AS position, (
        SELECT coalesce(json_agg(m ORDER BY m.recorded_at DESC, m.metric_id DESC), '[]') FROM (
          SELECT m.metric_id, m.metric_name, m.metric_value, m.recorded_at FROM @extschema@.execution_metrics m
           WHERE m.execution_id = e.execution_id AND ($2::text IS NULL OR m.metric_name = $2)
             AND ($3::timestamptz IS NULL OR (m.recorded_at, m.metric_id) < ($3, $4::uuid))
           ORDER BY m.recorded_at DESC, m.metric_id DESC LIMIT $5) m) AS metrics
        FROM @extschema@.agent_executions e WHERE e.execution_id = $1`;
    const row = z.object({ position: z.string(), metrics: z.array(metric) });
    const values = [executionId, name ?? null, after?.at ?? null, after?.id ?? null, limit + 1];
    const [found] = await sql.query(text, values, row);
    if (found === undefined) return refuseUnseen(sql, 'execution', executionId);
    const { position, metrics } = found;
    return { position, metrics: metrics.slice(0, limit), more: metrics.length > limit };
  });
}
