/** Which rules a running execution breaks. That one has failed is seen in SQL. Pure. */

/** The score of its health below which a rule is broken. */
const HEALTH = 50;

/** The share of failed attempts above which a rule is broken, and how many must have ended before it says anything. */
const ERROR_RATE = 0.2;
const ENOUGH_ATTEMPTS = 5;

/** Quiet for this many times the usual is too long; but not before so many milliseconds, in which gateways look twice. */
const QUIET_TIMES = 4;
const QUIET_LEAST = 60_000;

/** What is known of a running execution. */
export interface Measures {
  /** That of its health, 0 to 100. */
  readonly score: number;
  readonly attempts: { readonly ended: number; readonly failed: number };
  /** How long it has written nothing, in milliseconds. */
  readonly quiet: number;
  /** The time between two events that nine of ten of the latest do not exceed, in milliseconds; null with too few events. */
  readonly usual: number | null;
}

export interface BrokenRule {
  readonly rule: 'health' | 'errors' | 'quiet';
  readonly value: number;
  readonly threshold: number;
}

export function brokenRules({ score, attempts, quiet, usual }: Measures): BrokenRule[] {
  const errors = attempts.ended < ENOUGH_ATTEMPTS ? 0 : attempts.failed / attempts.ended;
  const long = usual === null ? Number.POSITIVE_INFINITY : Math.max(QUIET_LEAST, QUIET_TIMES * usual);
  const broken: BrokenRule[] = [];
  if (score < HEALTH) broken.push({ rule: 'health', value: score, threshold: HEALTH });
  if (errors > ERROR_RATE) broken.push({ rule: 'errors', value: errors, threshold: ERROR_RATE });
  if (quiet > long) broken.push({ rule: 'quiet', value: quiet, threshold: long });
  return broken;
}
