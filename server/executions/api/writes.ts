/**
 * The routes that write executions: create, change, append logs, record metrics. They parse input and idempotency keys, and
 * call `ExecutionWrites`, which holds the rules.
 */
import { following, isFinished, STATUSES } from '@rowcast/client/progress';
import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import { InvalidRequest } from '../../http/api/problem.js';
import { type Route, type RouteResponse, route } from '../../ports/route.js';
import { writtenExecution } from '../rules/execution-rows.js';
import { appended, ExecutionWrites, recorded } from '../rules/execution-writes.js';
import type { Answered } from '../rules/idempotency.js';
import { executionChange, idempotencyKey, MOST_ROWS, newExecution, newLog, newMetric } from '../rules/inputs.js';
import * as parameters from './parameters.js';

const params = z.object({ execution_id: parameters.executionId });

const KEY = 'Idempotency-Key';
const headers = z.object({
  [KEY]: idempotencyKey.optional().meta({
    description:
      'A key of your choice, 1 to 255 visible ASCII characters. Requests with the same key take effect once: for 24 hours a repeated request gets the response of the first.',
    example: 'run-42-logs-7',
  }),
});
const REPLAYED = 'Idempotent-Replayed';
const replayed = {
  [REPLAYED]: z.literal('true').optional().meta({
    description: 'The response of an earlier request with the same key. Nothing was written.',
  }),
};
const writtenHeaders = z.object(replayed);

const PLAN = { stages: [{ name: 'plan', steps: 3 }, { name: 'fix' }] };

/** A schema for one row, or for many under a name. Faults are reported for the form that the body has. */
function oneOrMany<Row extends z.ZodType>(one: Row, name: string) {
  const many = z.strictObject({ [name]: z.array(one).min(1).max(MOST_ROWS) });
  const schemas = [one, many].map((schema) => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }));
  return z
    .unknown()
    .transform((body, { addIssue }): z.output<Row>[] => {
      const isMany = typeof body === 'object' && body !== null && name in body;
      const parsed = (isMany ? many : one).safeParse(body);
      if (parsed.success)
        return isMany ? ((parsed.data as Record<string, z.output<Row>[]>)[name] ?? []) : [parsed.data as z.output<Row>];
      for (const { path, message } of parsed.error.issues) addIssue({ code: 'custom', path, message });
      return z.NEVER;
    })
    .meta({ override: { oneOf: schemas.map(({ $schema, ...schema }) => schema) } });
}

function written(
  status: number,
  { value, replayed }: Answered<unknown>,
  headers: RouteResponse['headers'] = {},
): RouteResponse {
  return { status, body: value, headers: replayed ? { ...headers, [REPLAYED]: 'true' } : headers };
}

const create = route({
  method: 'post',
  path: '/agents/executions',
  id: 'createExecution',
  tag: 'Executions',
  summary: 'Create an execution',
  description:
    'You must be an editor of the venture. With a `plan` the first event is `execution-planned`, and progress is counted in its stages.',
  headers,
  body: newExecution.extend({
    idempotency_key: idempotencyKey.optional().meta({ description: `For clients that cannot set the header ${KEY}.` }),
  }),
  bodyExamples: {
    small: { venture_id: parameters.EXAMPLE_VENTURE },
    planned: {
      venture_id: parameters.EXAMPLE_VENTURE,
      initial_status: 'running',
      metadata: { agent: 'demo' },
      plan: PLAN,
    },
  },
  responses: {
    201: {
      description: 'Created. Subscribe to `execution:<execution_id>` with `since=<position>` for its events.',
      body: writtenExecution,
      headers: z.object({ Location: z.string().meta({ description: 'The path of the execution.' }), ...replayed }),
    },
  },
  refusals: ['unknown_venture', 'idempotency_key_reused'],
  async handle({ headers: { [KEY]: header }, body: { idempotency_key: field, ...wanted }, database, path }) {
    if (header !== undefined && field !== undefined && header !== field) {
      throw new InvalidRequest([{ path: 'body.idempotency_key', message: `differs from the header ${KEY}` }]);
    }
    const answer = await new ExecutionWrites(database).create(wanted, header ?? field);
    return written(201, answer, { Location: `${path}/${answer.value.execution_id}` });
  },
});

/** The allowed changes of the status, such as `paused → running, failed`. */
const moves = Object.entries(following).flatMap(([from, to]) => (to.length > 0 ? [`${from} → ${to.join(', ')}`] : []));

const change = route({
  method: 'patch',
  path: '/agents/executions/:execution_id',
  id: 'changeExecution',
  tag: 'Executions',
  summary: 'Change status, stage or metadata',
  description: `Allowed changes of the status: ${moves.join('; ')}. Final: ${STATUSES.filter(isFinished).join(', ')}. Setting
the present status is not a change.`,
  params,
  headers,
  body: executionChange,
  bodyExamples: { start: { status: 'running' }, stage: { stage_number: 2 }, end: { status: 'completed' } },
  responses: {
    200: { description: 'The execution after the change.', body: writtenExecution, headers: writtenHeaders },
  },
  refusals: ['unknown_execution', 'state_conflict', 'idempotency_key_reused'],
  async handle({ params: { execution_id: id }, headers: { [KEY]: key }, body, database }) {
    return written(200, await new ExecutionWrites(database).change(id, body, key));
  },
});

const append = route({
  method: 'patch',
  path: '/agents/executions/:execution_id/logs',
  id: 'appendLogs',
  tag: 'Logs',
  summary: 'Append one or many logs',
  description: `One log, or up to ${MOST_ROWS} as \`{"logs": […]}\`. All or none are written, with consecutive seqs.`,
  params,
  headers,
  body: oneOrMany(newLog, 'logs'),
  bodyExamples: {
    one: { message: 'read the issue' },
    many: {
      logs: [
        { event_type: 'task-assigned', message: 'run the tests', context: { step_id: 's1', step: 'run the tests' } },
        { log_level: 'warning', message: '2 tests failed' },
      ],
    },
  },
  responses: {
    200: { description: 'The seqs of the rows in the channel.', body: appended, headers: writtenHeaders },
  },
  refusals: ['unknown_execution', 'state_conflict', 'idempotency_key_reused'],
  async handle({ params: { execution_id: id }, headers: { [KEY]: key }, body, database }) {
    return written(200, await new ExecutionWrites(database).append(id, body, key));
  },
});

const record = route({
  method: 'post',
  path: '/agents/executions/:execution_id/metrics',
  id: 'recordMetrics',
  tag: 'Progress',
  summary: 'Record one or many metrics',
  description: `One metric, or up to ${MOST_ROWS} as \`{"metrics": […]}\`. All or none are written. Each is also an event of the channel.`,
  params,
  headers,
  body: oneOrMany(newMetric, 'metrics'),
  bodyExamples: {
    one: { metric_name: 'tokens', metric_value: 731 },
    many: {
      metrics: [
        { metric_name: 'tokens', metric_value: 731 },
        { metric_name: 'cost', metric_value: 0.02 },
      ],
    },
  },
  responses: { 201: { description: 'Recorded.', body: recorded, headers: writtenHeaders } },
  refusals: ['unknown_execution', 'state_conflict', 'idempotency_key_reused'],
  async handle({ params: { execution_id: id }, headers: { [KEY]: key }, body, database }) {
    return written(201, await new ExecutionWrites(database).record(id, body, key));
  },
});

/** Maximum size of these fields as JSON, in bytes. */
export interface WriteBounds {
  readonly metadataBytes: number;
  readonly contextBytes: number;
}

/** Returns the routes that write. */
export function writeRoutes({ metadataBytes, contextBytes }: WriteBounds): Route[] {
  const bounded = (written: Route): Route => ({
    ...written,
    handle: (input) => {
      const { metadata } = Object(input.body);
      refuseLarge('body.metadata', metadata, metadataBytes);
      const rows: readonly unknown[] = Array.isArray(input.body) ? input.body : [];
      for (const [index, row] of rows.entries()) {
        const { context } = Object(row);
        refuseLarge(rows.length === 1 ? 'body.context' : `body.logs.${index}.context`, context, contextBytes);
      }
      return written.handle(input);
    },
  });
  return [create, change, append, record].map(bounded);
}

function refuseLarge(path: string, value: unknown, most: number): void {
  if (Object(value) !== value || bytesOf(value) <= most) return;
  throw new InvalidRequest([{ path, message: `must have at most ${most} bytes as JSON` }]);
}

function bytesOf(value: unknown): number {
  try {
    return Buffer.byteLength(JSON.stringify(value));
  } catch (error) {
    throw error instanceof RangeError ? new Refusal('invalid_request', 'a value cannot be stored') : error;
  }
}
