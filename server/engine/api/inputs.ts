/** Parameters, headers and bodies of the routes of the engine. The names of the requirement are accepted beside our own. */
import { z } from 'zod';
import { executionId, ventureId } from '../../executions/api/parameters.js';
import { idempotencyKey } from '../../executions/rules/inputs.js';
import { agentType, item, MOST_ITEMS, MOST_TASKS, name, options, plan, task } from '../plan.js';

export const params = z.object({ execution_id: executionId });
export const taskId = z.guid('must be the id of a task: a UUID').toLowerCase();
export const taskParams = params.extend({ task_id: taskId });
export const workerParams = z.object({ task_id: taskId });

export const KEY = 'Idempotency-Key';
export const keyed = z.object({
  [KEY]: idempotencyKey.optional().meta({
    description: 'A key of your choice. Requests with the same key take effect once, for 24 hours.',
    example: 'nightly-2026-11-30',
  }),
});
export const LEASE = 'Lease';
export const leased = z.object({
  [LEASE]: z.guid().meta({ description: 'The `lease` of the claim.' }),
});

/** `workspaceId` and `strategyId` are other names of `venture_id` and `strategy_id`. */
export const startBody = z
  .strictObject({
    venture_id: ventureId.optional(),
    workspaceId: ventureId.optional().meta({ description: 'The same as `venture_id`.' }),
    strategy_id: name.optional(),
    strategyId: name.optional().meta({ description: 'The same as `strategy_id`.' }),
    items: z.array(item).min(1).max(MOST_ITEMS).optional(),
    tasks: z.array(task).min(1).max(MOST_TASKS).optional(),
    options: options.prefault({}),
  })
  .transform(({ venture_id, workspaceId, strategy_id, strategyId, ...rest }, { addIssue }) => {
    const venture = venture_id ?? workspaceId;
    if (venture === undefined || (workspaceId ?? venture) !== venture) {
      addIssue({ code: 'custom', path: ['venture_id'], message: 'is required, once' });
      return z.NEVER;
    }
    const strategy = strategy_id ?? strategyId;
    const parsed = plan.safeParse({ ...rest, ...(strategy !== undefined && { strategy_id: strategy }) });
    if (parsed.success) return { venture, plan: parsed.data };
    for (const { path, message } of parsed.error.issues) addIssue({ code: 'custom', path, message });
    return z.NEVER;
  });

export const claimBody = z.strictObject({
  worker: name.meta({ description: 'The name of the worker, which appears in events.' }),
  agent_types: z.array(agentType).min(1).max(100),
  wait: z.int().min(0).max(25).default(20).meta({ description: 'How long to wait for a task, in seconds.' }),
  slots: z.int().min(1).max(10_000).optional(),
  version: name.optional(),
});

export const usage = z.record(z.string(), z.unknown()).meta({
  description: 'What the attempt has used so far. `cost` counts against the budget of the execution.',
});
const message = z.string().max(10_000);
export const heartbeatBody = z.strictObject({
  percent: z.number().min(0).max(100).optional(),
  message: message.optional(),
  usage: usage.optional(),
  checkpoint: z.unknown().optional().meta({ description: 'Up to 64 KiB of JSON, which the next attempt gets.' }),
});
export const completeBody = z.strictObject({ output: z.unknown().optional(), usage: usage.optional() });
export const failBody = z.strictObject({
  class: z.string().min(1).max(100).default('permanent').meta({
    description:
      '`transient`, `rate_limited`, `timeout`: it is tried again, unless its type says otherwise. `permanent`: it is not.',
  }),
  code: z.string().max(100).optional(),
  message: message.optional(),
  retry_after_ms: z.int().min(0).max(86_400_000).optional(),
  usage: usage.optional(),
});
export const waitBody = z
  .strictObject({
    signal: name.optional(),
    until: z.iso.datetime({ offset: true }).optional(),
    checkpoint: z.unknown().optional(),
  })
  .refine(({ signal, until }) => signal !== undefined || until !== undefined, {
    path: ['signal'],
    message: 'either signal or until is required',
  });
