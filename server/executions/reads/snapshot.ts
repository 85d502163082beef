import { type Position, parsePosition } from '@rowcast/client/protocol';
import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import type { Database } from '../../ports/database.js';
import { refuseUnseen } from '../rules/existence.js';
import { LOG_COLUMNS, type LogRow, log, metric } from '../rules/rows.js';
import { PAGE_BYTES } from './logs.js';
import { type ExecutionWithProgress, type Extra, type Progresses, rowWith } from './progress.js';

/** Maximum number of metric names in a snapshot, and of values that are counted for each. */
const MAX_NAMES = 1_000;
const MAX_COUNT = 100;

/** Selects rows of the log: the last `limit` ones, or the first `limit` ones after a seq or position. */
export interface LogsWanted {
  readonly limit: number;
  readonly since?: string | undefined;
}

const latestMetric = metric.extend({
  count: z.int().meta({ description: `The number of values with this name, up to ${MAX_COUNT}.` }),
});

const contents = z.object({ logs: z.array(log), metrics: z.array(latestMetric) });
export const metricsOfSnapshot = contents.shape.metrics;
const row = rowWith(contents);

export interface Snapshot {
  readonly standing: ExecutionWithProgress;
  readonly logs: readonly LogRow[];
  readonly metrics: z.output<typeof metricsOfSnapshot>;
  /** Where to continue reading rows that did not fit, up to the position of the snapshot; null if there are none. */
  readonly next: Position | null;
}

/** Reads an execution with its logs, metrics, progress and position, all from one snapshot. Rejects with `Refusal` (unknown_execution, forbidden, position_gone). */
export function readSnapshot(
  database: Database,
  progresses: Progresses,
  id: string,
  wanted: LogsWanted,
): Promise<Snapshot> {
  return database.transaction(async (sql) => {
    const since = wanted.since === undefined ? null : sinceOf(wanted.since);
    const found = (await progresses.withExtra(sql, [id], contentsOf(wanted, since?.seq))).get(id);
    if (found === undefined) return refuseUnseen(sql, 'execution', id);
    const { logs, metrics } = found.extra;
    const { epoch, head } = found;
    if (since !== null) refuseGone(since, found, logs[0]?.seq ?? head + 1);
    const last = logs.at(-1)?.seq ?? head;
    return { standing: found, logs, metrics, next: last < head && wanted.limit > 0 ? { epoch, seq: last } : null };
  });
}

interface Since {
  /** Null if only a seq was given. */
  readonly epoch: string | null;
  readonly seq: number;
}

function sinceOf(text: string): Since {
  if (text === 'start') return { epoch: null, seq: 0 };
  return parsePosition(text) ?? { epoch: null, seq: Number(text) };
}

/** Throws `Refusal` (position_gone) if rows after `since` were deleted or renumbered. `start` begins at the oldest row. */
function refuseGone({ epoch, seq }: Since, { epoch: present, head }: ExecutionWithProgress, first: number): void {
  if (epoch !== null && epoch !== present) throw new Refusal('position_gone', 'the log was renumbered');
  if (seq > head) throw new Refusal('position_gone', `the log ends at ${present}.${head}`);
  if (seq > 0 && first > seq + 1) throw new Refusal('position_gone', `the log begins after ${present}.${first - 1}`);
}

function contentsOf({ limit }: LogsWanted, since: number | undefined): Extra<z.output<typeof contents>> {
  const order = since === undefined ? 'DESC' : 'ASC';
  const logs = `(
    SELECT coalesce(json_agg(row ORDER BY seq), '[]') FROM (
      SELECT row_to_json(r) AS row, r.seq, row_number() OVER w AS nth,
             sum(octet_length(row_to_json(r)::text)) OVER w AS bytes
        FROM (SELECT ${LOG_COLUMNS} FROM @extschema@.agent_execution_logs l
               WHERE l.execution_id = e.execution_id AND l.seq > $3
               ORDER BY l.seq ${order} LIMIT $2) r
      WINDOW w AS (ORDER BY r.seq ${order})) x
     WHERE nth = 1 OR bytes <= ${PAGE_BYTES})`;
  const metrics = `(
    WITH RECURSIVE names AS (
      SELECT min(m.metric_name) AS name, 1 AS nth FROM @extschema@.execution_metrics m WHERE m.execution_id = e.execution_id
      UNION ALL
      SELECT (SELECT min(m.metric_name) FROM @extschema@.execution_metrics m
               WHERE m.execution_id = e.execution_id AND m.metric_name > names.name), nth + 1
        FROM names WHERE name IS NOT NULL AND nth < ${MAX_NAMES})
    SELECT coalesce(json_agg(m ORDER BY metric_name), '[]') FROM (
      SELECT latest.*, counted.count FROM names
        CROSS JOIN LATERAL (
          SELECT m.metric_id, m.metric_name, m.metric_value, m.recorded_at FROM @extschema@.execution_metrics m
           WHERE m.execution_id = e.execution_id AND m.metric_name = names.name
           ORDER BY m.recorded_at DESC, m.metric_id DESC LIMIT 1) latest
        CROSS JOIN LATERAL (
          SELECT count(*) FROM (SELECT FROM @extschema@.execution_metrics m
            WHERE m.execution_id = e.execution_id AND m.metric_name = names.name LIMIT ${MAX_COUNT}) few) counted) m)`;
  return {
    json: `json_build_object('logs', ${logs}, 'metrics', ${metrics})`,
    values: [limit, since ?? 0],
    row,
  };
}
