import { isFinished, STATUSES } from '@rowcast/client/progress';
import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import { isStorable } from '../../ground/storable.js';
import { LEVELS } from './rows.js';

/** Maximum length of the message of a log, in characters. */
const MESSAGE = 65_536;
/** Maximum length of a name (event type, metric, stage) in characters. The progress module cuts names of steps and agents there. */
export const NAME = 200;
/** Maximum number of rows in one request. */
export const MOST_ROWS = 1000;
/** Maximum number of stages in a plan. The progress module reads no more. */
const STAGES = 100;
/** The maximum of the type `int` in PostgreSQL. */
const MAX_INT = 2_147_483_647;

export const text = (longest: number) =>
  z.string().max(longest).refine(isStorable, 'contains a character that cannot be stored');
const name = text(NAME).min(1);
const stageNumber = z.int().min(0).max(MAX_INT).nullable();
/** Its size is bounded later, and no schema looks at its names: there may be a hundred thousand. */
const metadata = z
  .custom<Record<string, unknown>>((value) => Object(value) === value && !Array.isArray(value), 'must be an object')
  .meta({ override: { type: 'object', additionalProperties: {} } })
  .nullable();

/** The plan of an execution: its stages in order. The first one has the number 1. */
export const plan = z.strictObject({
  stages: z
    .array(z.strictObject({ name, steps: z.int().min(0).max(MAX_INT).optional() }))
    .min(1)
    .max(STAGES),
});

export const executionId = z.guid();

export const newExecution = z.strictObject({
  venture_id: z.guid().toLowerCase(),
  initial_status: z.enum(['pending', 'running']).default('pending'),
  metadata: metadata.default(null),
  plan: plan.optional(),
});
export type NewExecution = z.input<typeof newExecution>;

export const executionChange = z
  .strictObject({
    status: z.enum(STATUSES).optional(),
    stage_number: stageNumber.optional(),
    metadata: metadata.optional().meta({ description: 'Replaces the present metadata.' }),
  })
  .refine((change) => Object.keys(change).length > 0, 'must contain at least one field to change');
export type ExecutionChange = z.input<typeof executionChange>;

export const finalStatus = z.enum(STATUSES.filter(isFinished));

/** Only the database writes these types. Otherwise subscribers could see a status that the record does not have. */
const OF_THE_STATUS = /^execution-(started|paused|resumed|completed|failed|cancelled)$/;

export const newLog = z.strictObject({
  event_type: name
    .refine(
      (type) => !OF_THE_STATUS.test(type),
      'is written by the database when the status changes: change the status instead',
    )
    .default('log')
    .meta({ description: 'Any type except `execution-started` and the others that a change of the status writes.' }),
  log_level: z.enum(LEVELS).default('info'),
  stage_number: stageNumber.optional().meta({ description: 'Default: the current stage of the execution.' }),
  message: text(MESSAGE).nullable().default(null),
  context: z.unknown().optional().meta({ description: 'Any JSON value.' }),
});

/** A log with an id is written once, even if it is sent again. */
const identifiedLog = newLog.extend({ log_id: z.guid().optional() });
export type NewLog = z.input<typeof identifiedLog>;
export const newLogs = z.array(identifiedLog).min(1).max(MOST_ROWS);

export const newMetric = z.strictObject({ metric_name: name, metric_value: z.number() });
export type NewMetric = z.input<typeof newMetric>;
export const newMetrics = z.array(newMetric).min(1).max(MOST_ROWS);

/** Splits rows into as few requests as possible. An invalid row gets a request of its own, so that only that one is refused. */
export function requestsOf<Row>({ element }: z.ZodArray<z.ZodType>, rows: readonly Row[]): Row[][] {
  const requests: Row[][] = [];
  const fitting: Row[] = [];
  for (const row of rows) {
    if (element.safeParse(row).success) fitting.push(row);
    else requests.push([row]);
  }
  for (let at = 0; at < fitting.length; at += MOST_ROWS) requests.push(fitting.slice(at, at + MOST_ROWS));
  return requests;
}

/** Visible ASCII, because it is sent in a header. */
export const idempotencyKey = z.string().regex(/^[\x21-\x7e]{1,255}$/, 'must be 1 to 255 visible ASCII characters');

/** Parses input from code in this process. Throws `Refusal` (invalid_request). */
export function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'the value'}: ${message}`);
  throw new Refusal('invalid_request', faults.join('; '));
}
