import { amount, copied, type Fields, fields, text, time } from './field.js';
import { MAX_NAME, MAX_STAGES } from './work.js';

/** The number of steps that are kept. Beyond it the oldest that have ended are dropped; they are still counted. */
const MAX_STEPS = 1000;
/** The longest output, in characters of JSON. A longer one is left out. */
const MAX_OUTPUT = 2000;
/** The longest error, in characters. A longer one is cut. */
const MAX_ERROR = 1000;
/** The number of earlier attempts that are kept of a step, and the longest error of one, in characters. */
const MAX_EARLIER = 5;
const MAX_EARLIER_ERROR = 200;

type Status = 'running' | 'done' | 'failed';

/** A step that was begun again, as it had ended before. */
export interface Attempt {
  /** 1 is the first. */
  readonly number: number;
  readonly status: 'done' | 'failed';
  readonly error: string | null;
  /** Milliseconds since 1970. */
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly durationMs: number | null;
  /** The seq of the event that ended it. */
  readonly seq: number;
}

export interface Step {
  /** Its `step_id`, or `#` and its seq. */
  readonly id: string;
  readonly name: string;
  readonly agent: string | null;
  readonly stage: number | null;
  readonly status: Status;
  /** 0 to 100, as the step last reported; null if it never did. */
  readonly percent: number | null;
  /** JSON; null if there is none, or if it was too long: then `outputCut` is true. */
  readonly output: unknown;
  readonly outputCut: boolean;
  readonly error: string | null;
  /** Milliseconds since 1970. */
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly durationMs: number | null;
  /** The seq of the event that last changed it. */
  readonly seq: number;
  /** The attempts before this one, the oldest first: the latest 5. Not there if there was none. */
  readonly earlier?: readonly Attempt[];
}

export interface Steps {
  /** In the order in which they began. */
  readonly kept: readonly Step[];
  readonly counts: Readonly<Record<Status, number>>;
  /** Hundredths of steps done, by the number of the stage; at index 0 those without a stage. */
  readonly credit: readonly number[];
  /** Every end of a step is the end of one attempt: a step that failed and was begun again has several. */
  readonly attempts: { readonly ended: number; readonly failed: number };
  /** How many attempts succeeded and told or showed how long they took, and the sum of that in milliseconds. */
  readonly timed: { readonly count: number; readonly total: number };
}

export const NO_STEPS: Steps = {
  kept: [],
  counts: { running: 0, done: 0, failed: 0 },
  credit: [],
  attempts: { ended: 0, failed: 0 },
  timed: { count: 0, total: 0 },
};

/** An event of a step. */
export interface StepEvent {
  readonly seq: number;
  readonly type: string;
  readonly at: number | null;
  readonly stage: number | null;
  readonly message: string | null;
  readonly context: Fields;
}

/** The error in the context of an event: `error`, as text or as an object with a `message`. */
export function errorIn(context: Fields): string | null {
  const { error } = context;
  return text(error, MAX_ERROR) ?? text(fields(error).message, MAX_ERROR);
}

/** The name of the step in an event: `step`, if it is a text. */
export const nameIn = (context: Fields): string | null => text(context.step, MAX_NAME);

/** The steps after an event, and the status of its step; null if the event is not of a step. */
export function stepAfter(steps: Steps, event: StepEvent): { steps: Steps; status: Status } | null {
  const id = idOf(event);
  if (id === null) return null;
  const index = indexOf(steps.kept, id);
  const known = steps.kept[index];
  if (event.type === 'task-progress' && known !== undefined && known.status !== 'running') return null;
  const step = changed(known ?? unknown(id, event), event);
  return { steps: counted(put(steps, index, step), known, step), status: step.status };
}

/** Counts the attempt that ended with the event. The same end told twice is one end. */
function counted(steps: Steps, before: Step | undefined, { status, durationMs }: Step): Steps {
  if (status === 'running' || before?.status === status) return steps;
  const { attempts, timed } = steps;
  const failed = status === 'failed';
  return {
    ...steps,
    attempts: { ended: attempts.ended + 1, failed: attempts.failed + (failed ? 1 : 0) },
    timed: failed || durationMs === null ? timed : { count: timed.count + 1, total: timed.total + durationMs },
  };
}

/** An end without an id counts as a step of its own. A begin without an id is ignored, because its step would never end. */
function idOf({ seq, type, context }: StepEvent): string | null {
  const { step_id: id } = context;
  const named = text(typeof id === 'number' ? String(id) : id, MAX_NAME);
  return named ?? (type === 'task-completed' || type === 'task-failed' ? `#${seq}` : null);
}

/** Searches from the end, because most events are of steps that began lately. */
function indexOf(kept: readonly Step[], id: string): number {
  let index = kept.length - 1;
  while (index >= 0 && kept[index]?.id !== id) index -= 1;
  return index;
}

const ANEW = { percent: null, output: null, outputCut: false, error: null, endedAt: null, durationMs: null } as const;

function unknown(id: string, { seq, stage, message }: StepEvent): Step {
  const name = text(message, MAX_NAME) ?? id;
  return { id, name, agent: null, stage, status: 'running', startedAt: null, seq, ...ANEW };
}

function changed(before: Step, { seq, type, at, stage, context }: StepEvent): Step {
  const step: Step = {
    ...before,
    name: nameIn(context) ?? before.name,
    agent: text(context.agent, MAX_NAME) ?? before.agent,
    stage: stage ?? before.stage,
    startedAt: time(context.started_at) ?? (type === 'task-assigned' ? at : before.startedAt),
    seq,
  };
  if (type === 'task-assigned') return { ...step, ...ANEW, ...earlier(before), status: 'running' };
  if (type === 'task-progress') {
    const told = amount(context.percent);
    return { ...step, percent: told === null ? step.percent : Math.floor(Math.min(told, 100)) };
  }
  const endedAt = time(context.ended_at) ?? at;
  const took = step.startedAt === null || endedAt === null ? null : Math.max(0, endedAt - step.startedAt);
  const output = copied(context.output, MAX_OUTPUT);
  return {
    ...step,
    status: type !== 'task-completed' || context.success === false ? 'failed' : 'done',
    output: output ?? null,
    outputCut: output === undefined && context.output !== undefined,
    error: errorIn(context),
    endedAt,
    durationMs: amount(context.duration_ms) ?? took,
  };
}

/** The attempts of a step that is begun again. */
function earlier(before: Step): Pick<Step, 'earlier'> {
  const { status, startedAt, endedAt, durationMs, seq, earlier: known = [] } = before;
  if (status === 'running') return {};
  const error = text(before.error, MAX_EARLIER_ERROR);
  const number = (known.at(-1)?.number ?? 0) + 1;
  return { earlier: [...known, { number, status, error, startedAt, endedAt, durationMs, seq }].slice(-MAX_EARLIER) };
}

function put(steps: Steps, index: number, step: Step): Steps {
  const kept = steps.kept.slice();
  const counts = { ...steps.counts };
  const credit = steps.credit.slice();
  const count = (one: Step | undefined, sign: 1 | -1) => {
    if (one === undefined) return;
    const stage = one.stage !== null && one.stage >= 1 && one.stage <= MAX_STAGES ? one.stage : 0;
    while (credit.length <= stage) credit.push(0); // no holes, because JSON has none
    counts[one.status] += sign;
    credit[stage] = (credit[stage] ?? 0) + sign * { running: one.percent ?? 0, done: 100, failed: 0 }[one.status];
  };
  count(kept[index], -1);
  count(step, 1);
  kept[index < 0 ? kept.length : index] = step;
  if (kept.length > MAX_STEPS) {
    const ended = kept.findIndex(({ status }) => status !== 'running');
    const [left] = kept.splice(Math.max(0, ended), 1);
    if (left?.status === 'running') count(left, -1); // its end, if it comes, counts as a new step
  }
  return { ...steps, kept, counts, credit };
}
