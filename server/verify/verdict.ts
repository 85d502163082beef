/** The kinds of faults. */
export const FAULTS = ['gaps', 'duplicates', 'reorders', 'foreign', 'altered', 'missing'] as const;
export type FaultKind = (typeof FAULTS)[number];

/** One fault and where it was found. */
export interface Fault {
  readonly kind: FaultKind;
  /** The line of the history, counted from 1; null for a fault that was found after the last line. */
  readonly line: number | null;
  readonly message: string;
}

/** Counts of events, except for `sessions`, `resets` and `silence`. */
export interface Counts {
  sessions: number;
  /** All events received. */
  events: number;
  resets: number;
  /** Missing between two received events, or skipped by an unjustified reset. */
  gaps: number;
  /** Received more than once within one session. */
  duplicates: number;
  /** Received after an event with a higher seq. */
  reorders: number;
  /** Of a channel that was not subscribed to, or at a position that the table does not have. */
  foreign: number;
  /** Received with content that differs from the table. */
  altered: number;
  /** Not received at the end, although the session claims to have them, or should be complete. */
  missing: number;
  /** No longer in the table (pruned, or of an earlier epoch) and therefore not compared. Not a fault. */
  gone: number;
  /** The longest time between two events of a session, in milliseconds. */
  silence: number;
}

/** The verdict on one client and one channel. */
export interface ReaderVerdict extends Counts {
  readonly client: string;
  readonly channel: string;
  /** Its last position; null if it never had one. */
  readonly position: string | null;
  /** Whether its last session has an `end`. Without it the history may be incomplete. */
  readonly ended: boolean;
  /** The first faults, at most `FAULTS_KEPT`. */
  readonly faults: readonly Fault[];
}

/** The verdict on all histories that were fed to one judge. */
export interface Verdict {
  readonly clean: boolean;
  readonly clients: number;
  /** Sums, except for `silence`, which is the maximum. */
  readonly total: Counts;
  /** In the order of their first line. */
  readonly readers: readonly ReaderVerdict[];
}

/** Maximum number of faults of one reader that are described. All are counted. */
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

/** Adds up counts, except for `silence`, which becomes the maximum. */
export function sum(all: readonly Counts[]): Counts {
  const total = noCounts();
  for (const counts of all) {
    for (const name of Object.keys(total) as (keyof Counts)[]) {
      total[name] = name === 'silence' ? Math.max(total.silence, counts.silence) : total[name] + counts[name];
    }
  }
  return total;
}
