/**
 * Reads executions with their progress, which is folded from their events. Folded states are cached, so that only newer
 * events are read. Access is never cached: the database decides it with each statement.
 */
import { advance, begin, type ProgressState } from '@rowcast/client/progress';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import type { Sql } from '../../ports/database.js';
import { EPOCH, FLOOR, HEAD } from '../rules/position.js';
import { type Execution, execution } from '../rules/rows.js';

/** Maximum number and size in bytes of the events that one statement reads for all its executions. The rest takes further statements. */
const FOLD_ROWS = 20_000;
const FOLD_BYTES = 16 * 1024 * 1024;

/** The size of the cache of folded states, and the maximum size of a state and of each of its steps, in bytes. */
const CACHE_BYTES = 32 * 1024 * 1024;
const STATE_BYTES = 1_024;
const STEP_BYTES = 6 * 1_024;

/** An execution with its progress and the state of its channel, from one snapshot. */
export interface ExecutionWithProgress<Extra = unknown> {
  readonly record: Execution;
  readonly state: ProgressState;
  readonly epoch: string;
  /** The seq after the last deleted one. */
  readonly floor: number;
  readonly head: number;
  readonly extra: Extra;
}

/** Additional data of an execution `e` from the same snapshot: a JSON expression, with parameters from $4 on. */
export interface Extra<T> {
  readonly json: string;
  readonly values: readonly unknown[];
  /** Made once by `rowWith`, because making a schema costs more than checking a row. */
  readonly row: StandingRow<T>;
}

/** The folded events of an execution, and approximately the memory that they take. */
interface Folded {
  /** The epoch and floor. If they change, the state is folded again, because it must not reveal deleted rows. */
  readonly from: string;
  readonly state: ProgressState;
  readonly bytes: number;
}

const NOTHING: Folded = { from: '', state: begin(), bytes: STATE_BYTES };

/** The context is read only for event types that progress uses, because it may be large. */
const CONTEXT = `CASE WHEN l.event_type LIKE 'task-%' OR l.event_type LIKE 'execution-%'
                  OR l.event_type IN ('stage-changed', 'error') THEN l.context END`;

const event = z.looseObject({ seq: z.int() });
/** The schema of a row, with that of its `extra`. */
export const rowWith = <T>(extra: z.ZodType<T>) =>
  z.object({
    at: z.int(),
    record: execution,
    epoch: z.string(),
    floor: z.int(),
    head: z.int(),
    events: z.array(event),
    bytes: z.int(),
    extra,
  });
type StandingRow<T> = ReturnType<typeof rowWith<T>>;

const NO_EXTRA: Extra<null> = { json: 'NULL', values: [], row: rowWith(z.null()) };

/**
 * Selects, for each id in $1, the record and the events after the seq in $3; or all events, if epoch and floor are not
 * those in $2. Events below the floor are not read: deleting an event withdraws all before it, for subscribers as well.
 */
const standings = (extra: string) => `
  SELECT w.at::int AS at, row_to_json(e) AS record, epoch, floor::float8 AS floor, head::float8 AS head,
         coalesce(f.events, '[]') AS events, coalesce(octet_length(f.events::text), 0) AS bytes, ${extra} AS extra
    FROM (SELECT ${EPOCH} AS epoch) s
    CROSS JOIN unnest($1::uuid[], $2::text[], $3::bigint[]) WITH ORDINALITY w(id, from_was, after, at)
    JOIN LATERAL (SELECT execution_id, venture_id, status, stage_number, metadata, created_at, updated_at
                    FROM @extschema@.agent_executions WHERE execution_id = w.id) e ON true
    CROSS JOIN LATERAL (SELECT ${HEAD} AS head, ${FLOOR} AS floor) h
    CROSS JOIN LATERAL (SELECT json_agg(x.event ORDER BY x.seq) AS events FROM (
      SELECT r.seq, row_to_json(r) AS event, row_number() OVER seqs AS nth,
             sum(octet_length(row_to_json(r)::text)) OVER seqs AS bytes
        FROM (
          SELECT l.seq, l.event_type, l.stage_number, left(l.message, 1000) AS message, ${CONTEXT} AS context, l.created_at
            FROM @extschema@.agent_execution_logs l
           WHERE l.execution_id = e.execution_id AND l.seq > CASE WHEN w.from_was = s.epoch || '.' || h.floor THEN w.after ELSE h.floor - 1 END
           ORDER BY l.seq LIMIT ${FOLD_ROWS} / cardinality($1)) r
      WINDOW seqs AS (ORDER BY r.seq)) x
     WHERE x.nth = 1 OR x.bytes <= ${FOLD_BYTES} / cardinality($1)) f`;

export class Progresses {
  readonly #folded = new LRUCache<string, Folded>({ maxSize: CACHE_BYTES, sizeCalculation: ({ bytes }) => bytes });

  /** Reads those of the executions that the principal may see, with one statement unless there are many new events. */
  of(sql: Sql, ids: readonly string[]): Promise<Map<string, ExecutionWithProgress>> {
    return this.withExtra(sql, ids, NO_EXTRA);
  }

  async withExtra<T>(
    sql: Sql,
    ids: readonly string[],
    extra: Extra<T>,
  ): Promise<Map<string, ExecutionWithProgress<T>>> {
    const found = new Map<string, ExecutionWithProgress<T>>();
    const text = standings(extra.json);
    for (let waiting = ids; waiting.length > 0; ) {
      const known = waiting.map((id) => this.#folded.get(id) ?? NOTHING);
      const values = [waiting, known.map(({ from }) => from), known.map(({ state }) => state.seq), ...extra.values];
      const rows = await sql.query(text, values, extra.row);
      const unfinished: string[] = [];
      for (const { at, record, epoch, floor, head, events, bytes, extra } of rows) {
        const id = waiting[at - 1];
        if (id === undefined) continue;
        const was = known[at - 1];
        const from = `${epoch}.${floor}`;
        const folded = fold(was?.from === from ? was : { ...NOTHING, from }, events, bytes);
        if (events.length > 0) this.#folded.set(id, folded);
        if (events.length > 0 && folded.state.seq < head) unfinished.push(id);
        else found.set(id, { record, state: folded.state, epoch, floor, head, extra });
      }
      waiting = unfinished;
    }
    return found;
  }
}

function fold({ from, state, bytes }: Folded, events: readonly z.output<typeof event>[], more: number): Folded {
  const next = events.reduce((before, { seq, ...row }) => advance(before, { seq, row }), state);
  // The state is made from the rows, so that their size is an upper bound; and the progress module bounds it.
  const most = STATE_BYTES + next.steps.kept.length * STEP_BYTES;
  return { from, state: next, bytes: Math.min(bytes + more, most) };
}
