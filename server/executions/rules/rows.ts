import { type ExecutionStatus, STATUSES } from '@rowcast/client/progress';
import { z } from 'zod';

/** The rows as the database encodes them as JSON. Subscribers get the same form: snake_case, times in UTC. */
const id = z.guid();
const time = z.string().meta({ format: 'date-time', example: '2026-01-31T09:30:00.123456+00:00' });
const json = z.unknown().meta({ description: 'Any JSON value.', example: { agent: 'demo' } });

export const status = z.enum(STATUSES as readonly [ExecutionStatus, ...ExecutionStatus[]]);

export const LEVELS = ['info', 'warning', 'error'] as const;
export const level = z.enum(LEVELS);

export const execution = z
  .object({
    execution_id: id,
    venture_id: id,
    status,
    stage_number: z.int().nullable(),
    metadata: json,
    created_at: time,
    updated_at: time,
  })
  .meta({ id: 'Execution' });
export type Execution = z.output<typeof execution>;

export const log = z
  .object({
    log_id: id,
    execution_id: id,
    seq: z.int().meta({ description: 'The seq of the event in the channel of its execution.' }),
    event_type: z.string(),
    log_level: level,
    stage_number: z.int().nullable(),
    message: z.string().nullable(),
    context: json,
    created_at: time,
    request_id: z.string().nullable(),
  })
  .meta({ id: 'Log' });
export type LogRow = z.output<typeof log>;

export const metric = z
  .object({
    metric_id: id,
    metric_name: z.string(),
    metric_value: z
      .union([z.number(), z.string()])
      .meta({ description: 'A string only for NaN, Infinity and -Infinity.' }),
    recorded_at: time,
  })
  .meta({ id: 'Metric' });
export type MetricRow = z.output<typeof metric>;

/**
 * SQL: the columns of a log row of the table `l`. Of a message with more than 16 MiB the first 1,000 characters: with all of them, the
 * answer to the query could be longer than a string of V8, which the driver throws as an uncaught exception.
 */
export const LOG_COLUMNS = `l.log_id, l.execution_id, l.seq, l.event_type, l.log_level, l.stage_number,
  CASE WHEN octet_length(l.message) > 16 * 1024 * 1024 THEN left(l.message, 1000) ELSE l.message END AS message, l.context, l.created_at, l.request_id`;

export const position = z
  .string()
  .meta({ description: 'The position of the log: subscribe with `since=<position>`.', example: '58326d.41' });
