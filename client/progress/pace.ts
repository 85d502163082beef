import type { Work } from './work.js';

/** The number of pieces of work, each a step or a stage, that must have ended before the rest is estimated. */
const ENOUGH = 3;

/** How much work was done after how much running time, in milliseconds. */
export interface Mark {
  readonly active: number;
  readonly done: number;
}

/** The pace so far: what a ratio estimate and its error need, in constant space. */
export interface Pace {
  readonly unit: Work['unit'];
  readonly from: Mark;
  /** When the work done last exceeded its maximum. */
  readonly risen: Mark;
  /** The end of the last piece. */
  readonly ended: Mark;
  readonly pieces: number;
  /** Sums over the pieces: of the squares, and of the product, of their time and their work. */
  readonly timeTime: number;
  readonly timeWork: number;
  readonly workWork: number;
}

/** Milliseconds of running time. The range from `low` to `high` is an 80 % interval. */
export interface Remaining {
  readonly expected: number;
  readonly low: number;
  readonly high: number;
}

/** The pace after an event. `ends`: a piece of work ended; otherwise a running one reported its progress. If the unit changes, the pace begins anew. */
export function follow(pace: Pace | null, unit: Work['unit'], now: Mark, ends: boolean): Pace {
  if (pace === null || pace.unit !== unit) {
    return { unit, from: now, risen: now, ended: now, pieces: 0, timeTime: 0, timeWork: 0, workWork: 0 };
  }
  const risen = now.done > pace.risen.done ? now : pace.risen;
  if (!ends || now.done <= pace.ended.done) return { ...pace, risen };
  const time = now.active - pace.ended.active;
  const work = now.done - pace.ended.done;
  return {
    ...pace,
    risen,
    ended: now,
    pieces: pace.pieces + 1,
    timeTime: pace.timeTime + time * time,
    timeWork: pace.timeWork + time * work,
    workWork: pace.workWork + work * work,
  };
}

/** The quantile 0.9 of Student's t distribution (Cornish-Fisher, within 2 % from two degrees of freedom). */
function quantile(degrees: number): number {
  return 1.2816 + 0.8467 / degrees + 0.571 / degrees ** 2;
}

/**
 * The remaining time at the rate so far. `active` is the running time up to now. The estimate counts down while a piece is
 * running. A piece that takes longer than the average is evidence that the others will too, and it may take as long again.
 */
export function remaining(pace: Pace, { done, total }: Work, active: number): Remaining | null {
  const time = pace.risen.active - pace.from.active;
  const work = pace.risen.done - pace.from.done;
  if (total === null || done >= total || pace.pieces < ENOUGH || time <= 0) return null;
  const piece = (pace.ended.done - pace.from.done) / pace.pieces;
  const since = active - pace.risen.active;
  const rate = Math.max(time / work, (time + since) / (work + piece));
  const expected = Math.max(0, rate * (total - done) - Math.min(since, rate * piece));
  const overdue = Math.max(0, since - (time / work) * piece);
  const spread = quantile(pace.pieces) * deviation(pace, rate, piece, (total - done) / piece);
  return {
    expected: Math.round(expected),
    low: Math.round(Math.max(0, expected - spread)),
    high: Math.round(expected + spread + overdue),
  };
}

/**
 * The standard deviation of the time for `pieces` more pieces, in milliseconds. It has two parts: the pieces differ from
 * each other, and their average is estimated from few of them. One piece that deviates by its whole length is added to
 * the sample, so that a few pieces of equal length do not give a narrow range.
 */
function deviation(pace: Pace, rate: number, piece: number, pieces: number): number {
  const residuals = pace.timeTime - 2 * rate * pace.timeWork + rate * rate * pace.workWork;
  const variance = (Math.max(0, residuals) + (rate * piece) ** 2) / pace.pieces;
  return Math.sqrt(variance * (pieces + pieces ** 2 / pace.pieces));
}
