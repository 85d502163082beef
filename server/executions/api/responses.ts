/**
 * The response bodies of the routes of executions: their schemas, which are in the OpenAPI document, and the functions that
 * make them from the progress module's types. Here camelCase ends and the snake_case of the API begins.
 */
import { isFinished, type Progress, type StepRecord, viewOf } from '@rowcast/client/progress';
import { formatPosition } from '@rowcast/client/protocol';
import { z } from 'zod';
import type { ExecutionWithProgress } from '../reads/progress.js';
import { execution, position, status } from '../rules/rows.js';

const time = z.iso.datetime().nullable();
const ms = z.int().nullable();

const stage = z
  .object({
    number: z.int(),
    name: z.string().nullable(),
    of: z.int().nullable().meta({ description: 'The number of stages in the plan.' }),
  })
  .nullable();

const percent = z
  .int()
  .min(0)
  .max(100)
  .meta({ description: 'Never decreases unless rows are deleted. 100 only when completed.', example: 40 });
const basis = z.enum(['stages', 'steps', 'none']).meta({
  description:
    'What percent is computed from. `none`: the amount of work is unknown, and percent stays at 0 until the end.',
});

export const steps = z.object({
  done: z.int(),
  failed: z.int(),
  running: z.int(),
  abandoned: z.int().meta({ description: 'Steps that had not ended when the execution ended.' }),
  total: z.int().nullable(),
});

/** Small, for frequent polling. */
export const statusView = z
  .object({
    execution_id: z.guid(),
    status,
    stage,
    percent,
    started_at: time,
    estimated_end: time.meta({
      description: 'Null while there is too little data to estimate it, and while the execution is not running.',
    }),
    last_seq: z.int(),
    position,
  })
  .meta({ id: 'Status' });

export const progressView = z
  .object({
    seq: z.int().meta({ description: 'The seq of the last event that is included.' }),
    status,
    percent,
    basis,
    stage,
    steps,
    started_at: time,
    ended_at: time,
    updated_at: time,
    remaining: z
      .object({ expected_ms: z.int(), low_ms: z.int(), high_ms: z.int() })
      .nullable()
      .meta({ description: 'Remaining running time. `low_ms` to `high_ms` is an 80 % interval.' }),
    error: z.object({ message: z.string(), step: z.string().nullable() }).nullable(),
  })
  .meta({ id: 'Progress' });

/** What `advance` of the progress module continues from. */
export const stateView = z
  .object({
    version: z.int().meta({ description: 'The version of the form of `progress`.', example: 1 }),
    progress: z.looseObject({ seq: z.int() }).meta({
      description: 'The `ProgressState` of the progress module, of the same moment as `position`.',
    }),
  })
  .meta({ id: 'ProgressState' });

export const listedView = execution
  .extend({ percent, stage, steps, started_at: time, estimated_end: time, position })
  .meta({ id: 'ListedExecution' });

export const stepView = z
  .object({
    step_id: z.string(),
    name: z.string(),
    agent: z.string().nullable(),
    stage: z.int().nullable(),
    status: z.enum(['running', 'done', 'failed', 'abandoned']),
    success: z.boolean().nullable(),
    percent: z.number().nullable(),
    output: z.unknown(),
    output_cut: z
      .boolean()
      .meta({ description: 'The output is too long for this list. It is in the row `seq` of the log.' }),
    error: z.string().nullable(),
    started_at: time,
    ended_at: time,
    duration_ms: ms,
    seq: z.int().meta({ description: 'The seq of the event that last changed the step.' }),
  })
  .meta({ id: 'Step' });

const iso = (at: number | null) => (at === null ? null : new Date(at).toISOString());

export const positionOf = ({ epoch, head }: ExecutionWithProgress) => formatPosition({ epoch, seq: head });

function estimatedEnd({ record }: ExecutionWithProgress, { remaining }: Progress, now: number): string | null {
  return remaining === null || record.status !== 'running' ? null : iso(now + remaining.expected);
}

export function statusOf(standing: ExecutionWithProgress, now: number): z.output<typeof statusView> {
  const progress = viewOf(standing.state, now);
  const { execution_id, status } = standing.record;
  return {
    execution_id,
    status,
    stage: progress.stage,
    percent: progress.percent,
    started_at: iso(progress.startedAt),
    estimated_end: estimatedEnd(standing, progress, now),
    last_seq: standing.head,
    position: positionOf(standing),
  };
}

export function listedOf(standing: ExecutionWithProgress, now: number): z.output<typeof listedView> {
  const progress = viewOf(standing.state, now);
  return {
    ...standing.record,
    percent: progress.percent,
    stage: progress.stage,
    steps: progress.steps,
    started_at: iso(progress.startedAt),
    estimated_end: estimatedEnd(standing, progress, now),
    position: positionOf(standing),
  };
}

export function progressOf({ state }: ExecutionWithProgress, now: number): z.output<typeof progressView> {
  const { seq, status, percent, basis, stage, steps, startedAt, endedAt, updatedAt, remaining, error } = viewOf(
    state,
    now,
  );
  return {
    seq,
    status,
    percent,
    basis,
    stage,
    steps,
    started_at: iso(startedAt),
    ended_at: iso(endedAt),
    updated_at: iso(updatedAt),
    remaining:
      remaining === null ? null : { expected_ms: remaining.expected, low_ms: remaining.low, high_ms: remaining.high },
    error,
  };
}

export function stepOf(step: StepRecord): z.output<typeof stepView> {
  return {
    step_id: step.id,
    name: step.name,
    agent: step.agent,
    stage: step.stage,
    status: step.status,
    success: step.success,
    percent: step.percent,
    output: step.output,
    output_cut: step.outputCut,
    error: step.error,
    started_at: iso(step.startedAt),
    ended_at: iso(step.endedAt),
    duration_ms: step.durationMs,
    seq: step.seq,
  };
}

/** How long a client may cache a response about a finished execution, in seconds. */
const FINISHED_AGE = 30;

/** The entity tag and cache headers. The tag changes only when rows are written, not with estimates that depend on the time. */
export function cachingOf(standing: ExecutionWithProgress, part = '') {
  const { updated_at, status } = standing.record;
  const cache = isFinished(status) ? `private, max-age=${FINISHED_AGE}` : 'private, no-cache';
  return {
    etag: `W/"${positionOf(standing)}-${standing.floor}-${Date.parse(updated_at)}${part}"`,
    headers: { 'Cache-Control': cache },
  };
}
