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

/**
 * Maximum number and size in bytes of the events that one statement reads for all its executions, which takes about ten
 * milliseconds to parse. The rest takes further statements.
 */
const FOLD_ROWS = 2_000;
const FOLD_BYTES = 1024 * 1024;

/** How long events are folded before others have a turn, in milliseconds. */
const SLICE = 5;

/** The size of the cache of folded states, and of a state and of one of its steps without its texts, in bytes. */
const CACHE_BYTES = 32 * 1024 * 1024;
const STATE_BYTES = 1_024;
const STEP_BYTES = 512;

/** Executions whose venture is remembered. */
const MAX_VENTURES = 50_000;

/** An execution with its progress and the state of its channel, from one snapshot. `head` is that of the rows which the principal sees. */
export interface ExecutionWithProgress<Extra = unknown> {
  readonly record: Execution;
  readonly state: ProgressState;
  readonly epoch: string;
  /** The seq after the last deleted one. */
  readonly floor: number;
  readonly head: number;
  readonly extra: Extra;
}

/** Additional data of an execution `e` from the same snapshot: a JSON expression, with parameters from $2 on. */
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
  /** The size when it was last measured, which takes a while. In between it is an upper bound. */
  readonly measured: number;
}

const NOTHING: Folded = { from: '', state: begin(), bytes: STATE_BYTES, measured: STATE_BYTES };

/** The context is read only for event types that progress uses, because it may be large. */
const CONTEXT = `CASE WHEN l.event_type LIKE 'task-%' OR l.event_type LIKE 'execution-%'
                  OR l.event_type IN ('stage-changed', 'error') THEN l.context END`;

/** The schema of a record, with that of its `extra`. */
export const rowWith = <T>(extra: z.ZodType<T>) =>
  z.object({ at: z.int(), record: execution, epoch: z.string(), floor: z.int(), head: z.int(), extra });
type StandingRow<T> = ReturnType<typeof rowWith<T>>;

const NO_EXTRA: Extra<null> = { json: 'NULL', values: [], row: rowWith(z.null()) };

const event = z.looseObject({ seq: z.int() });
const eventsRow = z.object({ at: z.int(), head: z.int(), events: z.array(event), bytes: z.int() });

/** Selects the records of the ids in $1 that the principal sees. */
const standings = (extra: string) => `
  SELECT w.at::int AS at, row_to_json(e) AS record, epoch, floor::float8 AS floor, head::float8 AS head, ${extra} AS extra
    FROM (SELECT ${EPOCH} AS epoch) s
    CROSS JOIN unnest($1::uuid[]) WITH ORDINALITY w(id, at)
    JOIN LATERAL (SELECT execution_id, venture_id, status, stage_number, metadata, created_at, updated_at
                    FROM @extschema@.agent_executions WHERE execution_id = w.id) e ON true
    CROSS JOIN LATERAL (SELECT ${HEAD} AS head, ${FLOOR} AS floor) h`;

/**
 * Selects, for each id in $1, the events after the seq in $2. Those below the floor were not folded: deleting an event withdraws
 * all before it, for subscribers as well.
 */
const EVENTS = `
  SELECT w.at::int AS at, head::float8 AS head, coalesce(f.events, '[]') AS events,
         coalesce(octet_length(f.events::text), 0) AS bytes
    FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY w(execution_id, after, at)
    CROSS JOIN LATERAL (SELECT w.execution_id) e
    CROSS JOIN LATERAL (SELECT ${HEAD} AS head) h
    CROSS JOIN LATERAL (SELECT json_agg(x.event ORDER BY x.seq) AS events FROM (
      SELECT r.seq, row_to_json(r) AS event, row_number() OVER seqs AS nth,
             sum(octet_length(row_to_json(r)::text)) OVER seqs AS bytes
        FROM (
          SELECT l.seq, l.event_type, l.stage_number, left(l.message, 1000) AS message, ${CONTEXT} AS context, l.created_at
            FROM @extschema@.agent_execution_logs l
           WHERE l.execution_id = w.execution_id AND l.seq > w.after
           ORDER BY l.seq LIMIT greatest(1, ${FOLD_ROWS} / cardinality($1))) r
      WINDOW seqs AS (ORDER BY r.seq)) x
     WHERE x.nth = 1 OR x.bytes <= ${FOLD_BYTES} / cardinality($1)) f`;

/** Executions, and those of them with events that are not folded yet. */
interface Begun<T> {
  readonly found: Map<string, ExecutionWithProgress<T>>;
  readonly cold: readonly ExecutionWithProgress<T>[];
}

export class Progresses {
  readonly #folded = new LRUCache<string, Folded>({ maxSize: CACHE_BYTES, sizeCalculation: ({ bytes }) => bytes });
  readonly #ventures = new LRUCache<string, string>({ max: MAX_VENTURES });

  /** The venture of an execution that was read before. */
  ventureOf(id: string): string | undefined {
    return this.#ventures.get(id);
  }

  /** Reads those of the executions that the principal may see. */
  of(sql: Sql, ids: readonly string[]): Promise<Map<string, ExecutionWithProgress>> {
    return this.withExtra(sql, ids, NO_EXTRA);
  }

  async withExtra<T>(
    sql: Sql,
    ids: readonly string[],
    extra: Extra<T>,
  ): Promise<Map<string, ExecutionWithProgress<T>>> {
    const { found, cold } = await this.#begin(sql, ids, extra);
    const states = await this.#fold(sql, cold);
    for (const [id, state] of states) {
      const standing = found.get(id);
      if (standing !== undefined) found.set(id, { ...standing, state });
    }
    return found;
  }

  /** Reads as `of` does, without folding what is not folded yet. */
  begin(sql: Sql, ids: readonly string[]): Promise<Begun<null>> {
    return this.#begin(sql, ids, NO_EXTRA);
  }

  async #begin<T>(sql: Sql, ids: readonly string[], extra: Extra<T>): Promise<Begun<T>> {
    const rows = await sql.query(standings(extra.json), [ids, ...extra.values], extra.row);
    const found = new Map<string, ExecutionWithProgress<T>>();
    const cold: ExecutionWithProgress<T>[] = [];
    for (const { at, ...row } of rows) {
      const id = ids[at - 1] ?? '';
      this.#ventures.set(id, row.record.venture_id);
      const { state } = this.#knownOf(id, row);
      const standing = { ...row, state };
      found.set(id, standing);
      if (state.seq < row.head && row.floor <= row.head) cold.push(standing);
    }
    return { found, cold };
  }

  /**
   * Folds the rest, as the service: the principal has seen the record, and what is kept is for all. A policy that hides rows from one
   * principal must not change what the others are told.
   */
  async #fold(sql: Sql, cold: readonly ExecutionWithProgress<unknown>[]): Promise<Map<string, ProgressState>> {
    const states = new Map<string, ProgressState>();
    const begun = cold.map((standing) => ({
      ...standing,
      known: this.#knownOf(standing.record.execution_id, standing),
    }));
    for (let waiting = begun; waiting.length > 0; ) {
      const ids = waiting.map(({ record }) => record.execution_id);
      const values = [ids, waiting.map(({ known, floor }) => Math.max(known.state.seq, floor - 1))];
      const rows = await sql.asService(EVENTS, values, eventsRow);
      const unfinished: typeof waiting = [];
      for (const { at, head, events, bytes } of rows) {
        const one = waiting[at - 1];
        if (one === undefined || events.length === 0) continue;
        const known = await fold(one.known, events, bytes);
        const id = one.record.execution_id;
        this.#folded.set(id, known);
        states.set(id, known.state);
        if (known.state.seq < head) unfinished.push({ ...one, known });
      }
      waiting = unfinished;
    }
    return states;
  }

  #knownOf(id: string, { epoch, floor }: { readonly epoch: string; readonly floor: number }): Folded {
    const from = `${epoch}.${floor}`;
    const known = this.#folded.get(id);
    return known?.from === from ? known : { ...NOTHING, from };
  }
}

/** Folds events, a few milliseconds at a time. */
async function fold(was: Folded, events: readonly z.output<typeof event>[], more: number): Promise<Folded> {
  let { state } = was;
  let began = performance.now();
  for (const { seq, ...row } of events) {
    state = advance(state, { seq, row });
    if (performance.now() - began < SLICE) continue;
    await new Promise(setImmediate);
    began = performance.now();
  }
  // The state is made from the rows, so that their size is an upper bound; and the progress module bounds it.
  const bytes = was.bytes + more;
  if (bytes < 2 * was.measured) return { ...was, state, bytes };
  const measured = sizeOf(state);
  return { from: was.from, state, bytes: measured, measured };
}

function sizeOf({ steps }: ProgressState): number {
  const texts = steps.kept.map(({ id, name, error, output }) =>
    [id, name, error ?? '', output === null ? '' : JSON.stringify(output)].reduce(
      (sum, text) => sum + 2 * text.length,
      0,
    ),
  );
  return texts.reduce((sum, bytes) => sum + STEP_BYTES + bytes, STATE_BYTES);
}
