import type { Work } from './work.js';

/** Pieces of work, each a step or a stage, that must have ended before the rest is estimated. */
const ENOUGH = 3;

/** What had been done after how much running time, in milliseconds. */
export interface Mark {
  readonly active: number;
  readonly done: number;
}

/** How fast the work went so far: what a ratio estimate and its error need, whatever the number of pieces. */
export interface Pace {
  readonly unit: Work['unit'];
  readonly from: Mark;
  /** When more was done than ever before. */
  readonly risen: Mark;
  /** The end of the last piece. */
  readonly ended: Mark;
  readonly pieces: number;
  /** Sums over the pieces, of the squares and the product of the time and the work each took. */
  readonly timeTime: number;
  readonly timeWork: number;
  readonly workWork: number;
}

/** Milliseconds of running time. `low` to `high` is meant to hold the truth four times in five. */
export interface Remaining {
  readonly expected: number;
  readonly low: number;
  readonly high: number;
}

/** `ends`: whether a piece of work ended here, or one that runs on told how far it is. Another unit is another pace. */
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
 * The rest at the rate so far. `active` is the running time up to now. The piece that runs counts down; once it takes
 * longer than pieces do on average it is evidence that the rest will too, and that this one may take as long again.
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
 * The standard deviation of the time for `pieces` more, in milliseconds: each will differ as those so far did, and their
 * average is not known better than a few of them tell. As though one more had been off by its whole length, so that a few
 * that were alike promise little.
 */
function deviation(pace: Pace, rate: number, piece: number, pieces: number): number {
  const residuals = pace.timeTime - 2 * rate * pace.timeWork + rate * rate * pace.workWork;
  const variance = (Math.max(0, residuals) + (rate * piece) ** 2) / pace.pieces;
  return Math.sqrt(variance * (pieces + pieces ** 2 / pace.pieces));
}
