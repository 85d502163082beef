/** What can be wrong with what a client saw. */
export const FAULTS = ['gaps', 'duplicates', 'reorders', 'foreign', 'altered', 'missing'] as const;
export type FaultKind = (typeof FAULTS)[number];

/** One fault, where it was found. */
export interface Fault {
  readonly kind: FaultKind;
  /** The line of the history, counted from 1; null for what was found after the last one. */
  readonly line: number | null;
  readonly message: string;
}

/** Counts. But for `sessions`, `resets` and `silence` they count events. */
export interface Counts {
  sessions: number;
  /** All that were received, of whatever kind. */
  events: number;
  resets: number;
  /** Left out between two events, or skipped by a reset that was not due. */
  gaps: number;
  /** Received again within one session. */
  duplicates: number;
  /** Received after one with a higher seq. */
  reorders: number;
  /** Of a channel that was not asked for, or of a position that the table does not have. */
  foreign: number;
  /** With another content than in the table. */
  altered: number;
  /** Not received at the end, although the session claims to have them, or was to be complete. */
  missing: number;
  /** Not in the table any more (pruned, or of an earlier epoch), hence not compared. No fault. */
  gone: number;
  /** The longest time between two events of a session, in milliseconds. */
  silence: number;
}

/** What one client saw of one channel. */
export interface ReaderVerdict extends Counts {
  readonly client: string;
  readonly channel: string;
  /** Where it stood at last; null if it never got that far. */
  readonly position: string | null;
  /** Its last session has said that it left. Without that its history may have been cut short. */
  readonly ended: boolean;
  /** The first faults, at most `FAULTS_KEPT`. */
  readonly faults: readonly Fault[];
}

/** The verdict over a history, or over several that were fed to one judge. */
export interface Verdict {
  readonly clean: boolean;
  readonly clients: number;
  /** Sums; of `silence` the maximum. */
  readonly total: Counts;
  /** In the order of their first lines. */
  readonly readers: readonly ReaderVerdict[];
}

/** Faults of one reader that are described; all are counted. */
export const FAULTS_KEPT = 10;

export function noCounts(): Counts {
  return {
    sessions: 0,
    events: 0,
    resets: 0,
    gaps: 0,
    duplicates: 0,
    reorders: 0,
    foreign: 0,
    altered: 0,
    missing: 0,
    gone: 0,
    silence: 0,
  };
}

export function isClean(counts: Counts): boolean {
  return FAULTS.every((kind) => counts[kind] === 0);
}

/** The sums of many counts; of `silence` the maximum. */
export function sum(all: readonly Counts[]): Counts {
  const total = noCounts();
  for (const counts of all) {
    for (const name of Object.keys(total) as (keyof Counts)[]) {
      total[name] = name === 'silence' ? Math.max(total.silence, counts.silence) : total[name] + counts[name];
    }
  }
  return total;
}
