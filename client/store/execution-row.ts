import { type ExecutionStatus, type Progress, STATUSES } from '../progress/index.js';

/** One execution of a list. Times are milliseconds since 1970. */
export interface ExecutionRow {
  readonly id: string;
  readonly venture: string;
  readonly status: ExecutionStatus;
  readonly stage: Progress['stage'];
  readonly percent: number;
  readonly steps: Progress['steps'];
  readonly metadata: unknown;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly startedAt: number | null;
  /** An estimate; null while there is too little data, and after the end. */
  readonly estimatedEnd: number | null;
}

export interface ExecutionFilter {
  /** Only these statuses; all by default. */
  readonly status?: readonly ExecutionStatus[] | undefined;
}

export type StatusCounts = Readonly<Record<ExecutionStatus, number>>;

/** An execution as the HTTP API has it in a list. */
interface Listed {
  readonly execution_id: string;
  readonly venture_id: string;
  readonly status: ExecutionStatus;
  readonly stage: Progress['stage'];
  readonly percent: number;
  readonly steps: Progress['steps'];
  readonly metadata: unknown;
  readonly created_at: string;
  readonly updated_at: string;
  readonly started_at: string | null;
  readonly estimated_end: string | null;
}

/** A page of a list. */
export interface Listing {
  readonly rows: readonly ExecutionRow[];
  readonly counts: StatusCounts | null;
  readonly cursor: string | null;
  /** That of the venture's channel, at the moment of the page; null where it may not be read. */
  readonly position: string | null;
}

export function listingOf(answer: unknown): Listing {
  const { executions, counts, pagination, position } = Object(answer) as Record<string, unknown>;
  const { next_cursor: cursor } = Object(pagination) as { next_cursor?: unknown };
  const given = Object(counts) as Record<string, unknown>;
  return {
    rows: (Array.isArray(executions) ? executions : []).map(rowOf),
    counts: counts ? (Object.fromEntries(STATUSES.map((s) => [s, Number(given[s] ?? 0)])) as StatusCounts) : null,
    cursor: typeof cursor === 'string' ? cursor : null,
    position: typeof position === 'string' ? position : null,
  };
}

const time = (text: string | null) => (text === null ? null : Date.parse(text));

function rowOf(listed: Listed): ExecutionRow {
  const { status, stage, percent, steps, metadata } = listed;
  return {
    id: listed.execution_id,
    venture: listed.venture_id,
    status,
    stage,
    percent,
    steps,
    metadata,
    createdAt: Date.parse(listed.created_at),
    updatedAt: Date.parse(listed.updated_at),
    startedAt: time(listed.started_at),
    estimatedEnd: time(listed.estimated_end),
  };
}
