import { type Remaining, remaining } from './pace.js';
import { type ProgressError, type ProgressState, workOf } from './state.js';
import { type ExecutionStatus, isFinished } from './statuses.js';
import type { Step } from './steps.js';
import { plannedSteps } from './work.js';

/** The progress of an execution. Times are milliseconds since 1970, from the `created_at` of the rows. */
export interface Progress {
  /** The seq of the last event; 0 if there was none. */
  readonly seq: number;
  readonly status: ExecutionStatus;
  /** Whole, 0 to 100. Never falls; 100 once completed, and only then. */
  readonly percent: number;
  /** What `percent` counts. `none`: the total is not known, and `percent` does not change until the end. */
  readonly basis: 'stages' | 'steps' | 'none';
  /** The current stage; `of`: the number of stages in the plan. */
  readonly stage: { readonly number: number; readonly name: string | null; readonly of: number | null } | null;
  /** The names of the stages of the plan, null for one without a name; empty without a plan. */
  readonly stages: readonly (string | null)[];
  /** `abandoned`: had no end when the execution ended. */
  readonly steps: {
    readonly done: number;
    readonly failed: number;
    readonly running: number;
    readonly abandoned: number;
    readonly total: number | null;
  };
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly updatedAt: number | null;
  /** Null while there is too little data, and after the end. */
  readonly remaining: Remaining | null;
  readonly error: ProgressError | null;
}

export interface StepRecord extends Omit<Step, 'status'> {
  /** `abandoned`: had no end when the execution ended. */
  readonly status: Step['status'] | 'abandoned';
  /** Null while it is not known. */
  readonly success: boolean | null;
}

/** The progress of a state at a time, in milliseconds since 1970. Only `remaining` depends on the time. */
export function viewOf(state: ProgressState, now: number): Progress {
  const { seq, status, percent, startedAt, endedAt, error } = state;
  const work = workOf(state);
  return {
    seq,
    status,
    percent,
    basis: work.total === null ? 'none' : work.unit,
    stage: stageOf(state),
    stages: state.plan?.map(({ name }) => name) ?? [],
    steps: countsOf(state),
    startedAt,
    endedAt,
    updatedAt: state.at,
    remaining: isFinished(status) || state.pace === null ? null : remaining(state.pace, work, activeAt(state, now)),
    error,
  };
}

/** The steps that are kept, in the order in which they began. */
export function stepsOf({ status, steps }: ProgressState): StepRecord[] {
  const open = isFinished(status) ? 'abandoned' : 'running';
  const success = { running: null, done: true, failed: false };
  return steps.kept.map((step) => ({
    ...step,
    status: step.status === 'running' ? open : step.status,
    success: success[step.status],
  }));
}

function activeAt({ status, active, at }: ProgressState, now: number): number {
  return status === 'running' && at !== null && now > at ? active + (now - at) : active;
}

function stageOf({ stage, plan }: ProgressState): Progress['stage'] {
  if (stage === null) return null;
  const planned = plan?.[stage.number - 1];
  const of = planned === undefined ? null : (plan?.length ?? null);
  return { number: stage.number, name: planned?.name ?? stage.name, of };
}

function countsOf({ status, plan, told, steps }: ProgressState): Progress['steps'] {
  const { done, failed, running } = steps.counts;
  const total = plan === null ? told : (plannedSteps(plan) ?? told);
  return {
    done,
    failed,
    ...(isFinished(status) ? { running: 0, abandoned: running } : { running, abandoned: 0 }),
    total: total === null ? null : Math.max(total, done + failed + running),
  };
}
