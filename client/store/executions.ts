import type { ExecutionStatus, Progress } from '../progress/index.js';
import type { Live, Store } from './live.js';

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

export interface ExecutionList {
  /** The newest first. */
  readonly rows: readonly ExecutionRow[];
  /** How many of `rows` there are of each status. The venture may have more: see `more`. */
  readonly counts: Readonly<Record<ExecutionStatus, number>>;
  /** How many new ones wait for `show`, so that the list does not move under the reader. */
  readonly waiting: number;
  /** Whether there are older ones, which `loadMore` reads. */
  readonly more: boolean;
}

/** The executions of a venture, kept current. */
export interface ExecutionsStore extends Store<Live<ExecutionList>> {
  /** Puts the new ones that wait into the list. */
  show(): void;
  /** Reads the next page of older ones. */
  loadMore(): Promise<void>;
}
