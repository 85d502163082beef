import { advance, begin, type ProgressState } from '@rowcast/client/progress';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import type { Sql } from '../../ports/database.js';
import { EPOCH, FLOOR, HEAD } from '../rules/position.js';
import { type Execution, execution } from '../rules/rows.js';

/** Events that one statement brings of all its executions together, and bytes of them: for more it is asked again. */
const FOLD_ROWS = 20_000;
const FOLD_BYTES = 16 * 1024 * 1024;

/** States kept in memory; a step of one takes so much at most. In bytes. */
const CACHE_BYTES = 32 * 1024 * 1024;
const STATE_BYTES = 1_024;
const STEP_BYTES = 6 * 1_024;

/** An execution, its progress, and where its log stood: all of one snapshot. */
export interface Standing<More = unknown> {
  readonly record: Execution;
  readonly state: ProgressState;
  readonly epoch: string;
  /** The seq after the last one that was deleted. */
  readonly floor: number;
  readonly head: number;
  readonly more: More;
}

/** What else is read of an execution `e`, in the same snapshot: an expression of JSON, its parameters from $4 on. */
export interface More<T> {
  readonly json: string;
  readonly values: readonly unknown[];
  /** Made once by `rowWith`: to make a schema costs more than to check a row. */
  readonly row: StandingRow<T>;
}

/** What was folded of an execution, and about how much memory it takes. */
interface Folded {
  /** The numbering and the floor: what was folded of rows that are deleted by now must not be told. */
  readonly from: string;
  readonly state: ProgressState;
  readonly bytes: number;
}

const NOTHING: Folded = { from: '', state: begin(), bytes: STATE_BYTES };

/** Of types that progress knows nothing of, the context may be large and is not read. */
const CONTEXT = `CASE WHEN l.event_type LIKE 'task-%' OR l.event_type LIKE 'execution-%'
                  OR l.event_type IN ('stage-changed', 'error') THEN l.context END`;

const event = z.looseObject({ seq: z.int() });
/** A row of the answer, `more` checked by this schema. */
export const rowWith = <T>(more: z.ZodType<T>) =>
  z.object({
    at: z.int(),
    record: execution,
    epoch: z.string(),
    floor: z.int(),
    head: z.int(),
    events: z.array(event),
    bytes: z.int(),
    more,
  });
type StandingRow<T> = ReturnType<typeof rowWith<T>>;

const NO_MORE: More<null> = { json: 'NULL', values: [], row: rowWith(z.null()) };

/**
 * For each id $1, of which the events up to $3 are folded, as long as $2 holds: the record, and the events that follow. Whoever
 * deletes an event gives up all that came before it: no subscriber gets them either.
 */
const standings = (more: string) => `
  SELECT w.at::int AS at, row_to_json(e) AS record, epoch, floor::float8 AS floor, head::float8 AS head,
         coalesce(f.events, '[]') AS events, coalesce(octet_length(f.events::text), 0) AS bytes, ${more} AS more
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

/**
 * Knows how far executions are. What was folded of their events is kept, so that only newer ones are read; who may see
 * an execution is decided by the database each time, in the statement that reads it.
 */
export class Progresses {
  readonly #folded = new LRUCache<string, Folded>({ maxSize: CACHE_BYTES, sizeCalculation: ({ bytes }) => bytes });

  /** Of each of these executions that the principal may see; in one statement, unless many events are new. */
  of(sql: Sql, ids: readonly string[]): Promise<Map<string, Standing>> {
    return this.withMore(sql, ids, NO_MORE);
  }

  async withMore<T>(sql: Sql, ids: readonly string[], more: More<T>): Promise<Map<string, Standing<T>>> {
    const found = new Map<string, Standing<T>>();
    const text = standings(more.json);
    for (let waiting = ids; waiting.length > 0; ) {
      const known = waiting.map((id) => this.#folded.get(id) ?? NOTHING);
      const values = [waiting, known.map(({ from }) => from), known.map(({ state }) => state.seq), ...more.values];
      const rows = await sql.query(text, values, more.row);
      const unfinished: string[] = [];
      for (const { at, record, epoch, floor, head, events, bytes, more } of rows) {
        const id = waiting[at - 1];
        if (id === undefined) continue;
        const was = known[at - 1];
        const from = `${epoch}.${floor}`;
        const folded = fold(was?.from === from ? was : { ...NOTHING, from }, events, bytes);
        if (events.length > 0) this.#folded.set(id, folded);
        if (events.length > 0 && folded.state.seq < head) unfinished.push(id);
        else found.set(id, { record, state: folded.state, epoch, floor, head, more });
      }
      waiting = unfinished;
    }
    return found;
  }
}

function fold({ from, state, bytes }: Folded, events: readonly z.output<typeof event>[], more: number): Folded {
  const next = events.reduce((before, { seq, ...row }) => advance(before, { seq, row }), state);
  // What is kept came with the rows, and has bounds of its own.
  const most = STATE_BYTES + next.steps.kept.length * STEP_BYTES;
  return { from, state: next, bytes: Math.min(bytes + more, most) };
}
