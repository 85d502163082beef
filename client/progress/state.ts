import { type Fields, fields, text, time, whole } from './field.js';
import { follow, type Pace } from './pace.js';
import { type ExecutionStatus, type FinalStatus, isFinished } from './statuses.js';
import { errorIn, NO_STEPS, nameIn, type StepEvent, type Steps, stepAfter } from './steps.js';
import { MAX_NAME, type Plan, planIn, total, type Work, workDone } from './work.js';

/** The number of characters of a row's message that are read. */
const MAX_MESSAGE = 1000;

/** An event of the stream `execution`. The content of the row is not trusted. */
export interface ProgressEvent {
  readonly seq: number;
  readonly row: Fields;
}

export interface ProgressError {
  readonly message: string;
  /** The name of the step in which it happened. */
  readonly step: string | null;
}

/** The state after the events up to `seq`: plain data that can be stored as JSON, and that `viewOf` reads. */
export interface ProgressState {
  readonly seq: number;
  readonly status: ExecutionStatus;
  readonly percent: number;
  /** The latest time of an event. Times are milliseconds since 1970. */
  readonly at: number | null;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /** How long it has been running, up to `at`, in milliseconds. */
  readonly active: number;
  readonly stage: { readonly number: number; readonly name: string | null } | null;
  readonly plan: Plan | null;
  /** The total number of steps, as an event of a step reported it. */
  readonly told: number | null;
  readonly steps: Steps;
  readonly pace: Pace | null;
  readonly error: ProgressError | null;
}

/** The version of `ProgressState`. It rises when a state of an older version cannot be continued with `advance`. */
export const STATE_VERSION = 1;

const BEGIN: ProgressState = {
  seq: 0,
  status: 'pending',
  percent: 0,
  at: null,
  startedAt: null,
  endedAt: null,
  active: 0,
  stage: null,
  plan: null,
  told: null,
  steps: NO_STEPS,
  pace: null,
  error: null,
};

export function begin(): ProgressState {
  return BEGIN;
}

/** The work done, as far as it is known. */
export function workOf({ plan, told, stage, steps }: ProgressState): Work {
  return workDone(plan, told, stage?.number ?? 0, steps.credit);
}

/**
 * The state after one more event. It does not modify the previous state, and never throws. An event whose seq is not
 * higher than `state.seq` has no effect. The time that it takes does not depend on the number of events before.
 */
export function advance(state: ProgressState, { seq, row }: ProgressEvent): ProgressState {
  if (!Number.isSafeInteger(seq) || seq <= state.seq) return state;
  const { event_type, stage_number, message, context, created_at } = fields(row);
  const event: StepEvent = {
    seq,
    type: typeof event_type === 'string' ? event_type : '',
    at: later(state.at, time(created_at)),
    stage: whole(stage_number, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
    message: text(message, MAX_MESSAGE),
    context: fields(context),
  };
  const passed = state.status === 'running' ? (event.at ?? 0) - (state.at ?? event.at ?? 0) : 0;
  const moved = { ...state, seq, at: event.at, active: state.active + passed, stage: stageAfter(state, event) };
  return measured(state, EFFECTS.get(event.type)?.(moved, event) ?? moved, event);
}

/** Times never decrease, although the clocks of the writers may, and although rows are numbered in the order of commits. */
function later(before: number | null, at: number | null): number | null {
  return before === null || (at !== null && at > before) ? at : before;
}

/** The stage that the latest row named. Only `stage-changed` can reset it to none. */
function stageAfter({ stage }: ProgressState, event: StepEvent): ProgressState['stage'] {
  if (event.stage === null) return event.type === 'stage-changed' ? null : stage;
  const known = stage?.number === event.stage ? stage : null;
  const name = text(event.context.stage, MAX_NAME) ?? known?.name ?? null;
  return known?.name === name ? known : { number: event.stage, name };
}

type Effect = (state: ProgressState, event: StepEvent) => ProgressState;

/** Has an effect only before the execution has ended: the first end counts. */
const unfinished =
  (effect: Effect): Effect =>
  (state, event) =>
    isFinished(state.status) ? state : effect(state, event);

const run = unfinished((state) => ({
  ...state,
  status: 'running',
  startedAt: state.startedAt ?? state.at,
  error: null,
}));

const end = (status: FinalStatus) =>
  unfinished((state, event) => {
    const said = status === 'failed' ? (state.error ?? errorOf(event)) : state.error;
    return { ...state, status, endedAt: state.at, error: status === 'completed' ? null : said };
  });

function errorOf({ type, message, context }: StepEvent): ProgressError {
  return { message: errorIn(context) ?? message ?? type, step: nameIn(context) };
}

/** An event of a step shows that the execution has started, even if no event said so. */
const task: Effect = (state, event) => {
  const after = stepAfter(state.steps, { ...event, stage: event.stage ?? state.stage?.number ?? null });
  const told = total(event.context.steps) ?? state.told;
  if (after === null) return { ...state, told };
  const begun = state.status === 'pending' ? run(state, event) : state;
  const error = { running: begun.error, done: null, failed: errorOf(event) }[after.status];
  return { ...begun, told, steps: after.steps, error: isFinished(begun.status) ? begun.error : error };
};

const EFFECTS: ReadonlyMap<string, Effect> = new Map<string, Effect>([
  ['execution-planned', (state, { context }) => ({ ...state, plan: planIn(context) ?? state.plan })],
  ['execution-started', run],
  ['execution-resumed', run],
  ['execution-paused', unfinished((state) => ({ ...state, status: 'paused' }))],
  ['execution-completed', end('completed')],
  ['execution-failed', end('failed')],
  ['execution-cancelled', end('cancelled')],
  ['task-assigned', task],
  ['task-progress', task],
  ['task-completed', task],
  ['task-failed', task],
  ['task-retrying', task],
  ['error', unfinished((state, event) => ({ ...state, error: errorOf(event) }))],
]);

/** Updates percent and pace if the event may have changed the work done, or the total. */
function measured(before: ProgressState, state: ProgressState, { type }: StepEvent): ProgressState {
  const kept = (['status', 'plan', 'told', 'stage', 'steps'] as const).every((field) => before[field] === state[field]);
  if (kept) return state;
  const work = workOf(state);
  const share = work.total === null ? 0 : Math.floor((work.done * 100) / work.total + 1e-9); // 0.29 * 100 is 28.999…
  const percent = state.status === 'completed' ? 100 : Math.max(state.percent, Math.min(share, 99));
  const mark = { active: state.active, done: work.done };
  const pace = state.status === 'pending' ? null : follow(state.pace, work.unit, mark, type !== 'task-progress');
  return { ...state, percent, pace };
}
