/**
 * How well an execution is doing, as a score with its reasons: 100 points, less what three measurements cost. Each costs
 * nothing up to its threshold and rises linearly from there to its maximum. Pure: the gateway and every client get the
 * same from the same events.
 */
import type { Remaining } from './pace.js';
import type { ProgressState } from './state.js';
import { isFinished } from './statuses.js';
import { viewOf } from './view.js';

/** The lowest score of each word; below all of them it is `critical`. */
const WORDS = [
  { from: 80, word: 'excellent' },
  { from: 60, word: 'good' },
  { from: 40, word: 'degraded' },
] as const;

/** Steps that must have ended or be overdue before the completion rate says anything. */
const ENOUGH = 3;

const COMPLETION = { threshold: 0.8, worst: 0, points: 50 };
const ERRORS = { threshold: 0.2, worst: 1, points: 25 };
/** Milliseconds. Four times the threshold costs all of the points. */
const DURATION = { threshold: 30_000, worst: 120_000, points: 15 };

/** A running step is overdue after this many times the average duration, but not before `DURATION.threshold`. */
const OVERDUE = 2;

export type HealthWord = (typeof WORDS)[number]['word'] | 'critical';

/** What lowered the score. `completion` and `errors` are rates from 0 to 1, `duration` is in milliseconds. */
export interface HealthReason {
  readonly code: 'completion' | 'errors' | 'duration';
  /** What was measured, and from where on it costs points. */
  readonly value: number;
  readonly threshold: number;
  /** Rounded to tenths; more than 0. */
  readonly points: number;
}

export interface Health {
  /** Whole, 0 to 100. */
  readonly score: number;
  readonly word: HealthWord;
  /** The costliest first; empty with a score of 100. */
  readonly reasons: readonly HealthReason[];
  /** When it will end, in milliseconds since 1970; null while there is too little to tell it by, and once it is over. */
  readonly predictedEnd: Remaining | null;
}

/** The health of an execution at a time, in milliseconds since 1970. Once it has ended the time changes nothing. */
export function healthOf(state: ProgressState, now: number): Health {
  const { attempts, timed } = state.steps;
  const reasons = [
    reason('completion', completionRate(state, now), COMPLETION),
    reason('errors', attempts.ended === 0 ? null : attempts.failed / attempts.ended, ERRORS),
    reason('duration', timed.count === 0 ? null : timed.total / timed.count, DURATION),
  ]
    .filter((one) => one !== null)
    .sort((a, b) => b.points - a.points);
  const score = Math.max(0, Math.round(100 - reasons.reduce((sum, { points }) => sum + points, 0)));
  const word = WORDS.find(({ from }) => score >= from)?.word ?? 'critical';
  const { remaining } = viewOf(state, now);
  const at = (milliseconds: number) => now + milliseconds;
  return {
    score,
    word,
    reasons,
    predictedEnd:
      remaining === null
        ? null
        : { expected: at(remaining.expected), low: at(remaining.low), high: at(remaining.high) },
  };
}

interface Scale {
  readonly threshold: number;
  /** Where the measurement costs all of the points; below the threshold if less is worse. */
  readonly worst: number;
  readonly points: number;
}

function reason(code: HealthReason['code'], value: number | null, scale: Scale): HealthReason | null {
  if (value === null) return null;
  const share = (value - scale.threshold) / (scale.worst - scale.threshold);
  const points = Math.round(Math.min(1, Math.max(0, share)) * scale.points * 10) / 10;
  return points === 0 ? null : { code, value, threshold: scale.threshold, points };
}

/**
 * Of the steps that have ended or are overdue, the part that is done. Counted over all planned steps it would call every
 * execution that has just begun unwell. Null while there are too few of them.
 */
function completionRate(state: ProgressState, now: number): number | null {
  const { counts, kept, timed } = state.steps;
  const average = timed.count === 0 ? 0 : timed.total / timed.count;
  const limit = Math.max(DURATION.threshold, OVERDUE * average);
  // A finished execution has no running steps: those without an end were abandoned, and count as not done.
  const overdue = isFinished(state.status)
    ? counts.running
    : state.status === 'running'
      ? kept.filter(({ status, startedAt }) => status === 'running' && now - (startedAt ?? now) > limit).length
      : 0;
  const due = counts.done + counts.failed + overdue;
  return due < ENOUGH ? null : counts.done / due;
}
