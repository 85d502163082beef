/**
 * What an execution is started with: items, which the rules turn into tasks, or the tasks themselves. The SQL checks a plan
 * again and has the last word; here it gets its form, and messages that name what is wrong.
 */
import { z } from 'zod';
import { isStorable } from '../ground/storable.js';

/** The maximum number of tasks of an execution, and of items of a request. */
export const MOST_TASKS = 10_000;
export const MOST_ITEMS = 2_000;
/** The maximum length of a name, of the text of an item, and of an error message, in characters. */
const NAME = 200;
const TEXT = 10_000;

const text = (longest: number) =>
  z.string().min(1).max(longest).refine(isStorable, 'contains a character that cannot be stored');
export const name = text(NAME);
export const agentType = text(100);

/** How a task ranks within its venture. */
export const PRIORITIES = { low: -10, medium: 0, high: 10 } as const;
const rank = z.enum(['low', 'medium', 'high']);
const priority = z.union([rank, z.int().min(-100).max(100)]);
export type Priority = z.output<typeof priority>;
export const numberOf = (given: Priority): number => (typeof given === 'number' ? given : PRIORITIES[given]);

/** The name of a task that must be completed, or one that must only have ended. */
const need = z.union([name, z.strictObject({ task: name, on: z.enum(['completed', 'ended']).default('completed') })]);

export const task = z
  .strictObject({
    name,
    agent_type: agentType.optional().meta({ description: 'Required, except for the kind `human`.' }),
    kind: z.enum(['agent', 'human']).default('agent').meta({ description: '`human`: a person completes it.' }),
    needs: z.array(need).max(1_000).default([]).meta({
      description: 'Tasks that must be completed before, by name; or `{"task", "on": "ended"}`: completed or not.',
    }),
    stage: z.int().min(0).max(1_000_000).optional(),
    input: z.record(z.string(), z.unknown()).default({}),
    priority: priority.optional(),
    optional: z.boolean().default(false).meta({ description: 'Its failure does not fail the execution.' }),
    concurrency_key: name
      .optional()
      .meta({ description: 'At most one task with this key runs at a time in a venture.' }),
    max_attempts: z.int().min(1).max(100).optional(),
    run_at: z.iso.datetime({ offset: true }).optional().meta({ description: 'Not before this time.' }),
    due_seconds: z.int().min(1).max(31_536_000).optional().meta({
      description: 'Fails if it has not begun, or a person has not decided, so long after it became ready.',
    }),
  })
  .refine(({ kind, agent_type }) => kind === 'human' || agent_type !== undefined, {
    path: ['agent_type'],
    message: 'is required',
  });
export type TaskInput = z.input<typeof task>;
export type PlannedTask = z.output<typeof task> & { readonly item_ref?: string; readonly propagation_id?: string };

export const item = z.strictObject({
  id: name,
  text: text(TEXT).meta({ description: 'What is to be done. Rules look for their words in it.' }),
  agents: z.array(agentType).min(1).max(20).optional().meta({ description: 'A chain of agents, instead of a rule.' }),
  needs: z.array(name).max(1_000).default([]).meta({ description: 'Items that must be completed before.' }),
  priority: rank.optional(),
  input: z.record(z.string(), z.unknown()).default({}),
});
export type ItemInput = z.input<typeof item>;
export type Item = z.output<typeof item>;

export const rule = z.strictObject({
  words: z.array(text(100)).min(1).max(100),
  agents: z.array(agentType).min(1).max(20),
  priority: rank.default('medium'),
});
export type RuleInput = z.input<typeof rule>;
export type Rule = z.output<typeof rule>;

export const options = z.strictObject({
  on_failure: z.enum(['continue', 'hold', 'stop']).default('continue').meta({
    description:
      '`continue`: independent tasks go on. `hold`: it pauses at its end. `stop`: what is open is cancelled.',
  }),
  max_parallel: z.int().min(1).max(MOST_TASKS).optional(),
  priority: priority.optional().meta({ description: 'Of tasks that have none.' }),
  deadline_at: z.iso.datetime({ offset: true }).optional().meta({ description: 'It is cancelled at this time.' }),
  budget: z
    .number()
    .positive()
    .max(1e12)
    .optional()
    .meta({ description: 'It pauses when its tasks have cost so much.' }),
  stages: z.array(name).max(1_000).optional().meta({ description: 'Names of the stages, the first one first.' }),
  cost_limit: z.number().positive().max(1e12).optional().meta({
    description: 'It is cancelled when its tasks have cost so much. `budget` pauses it.',
  }),
  concurrency_key: name.optional().meta({
    description: 'One execution with this key runs at a time in a venture. A later one stays pending until then.',
  }),
  metadata: z.record(z.string(), z.unknown()).optional(),
});

/** A plan: either items or tasks. */
export const plan = z
  .strictObject({
    strategy_id: name.optional(),
    items: z.array(item).min(1).max(MOST_ITEMS).optional(),
    tasks: z.array(task).min(1).max(MOST_TASKS).optional(),
    options: options.prefault({}),
  })
  .refine(({ items, tasks }) => (items === undefined) !== (tasks === undefined), {
    path: ['items'],
    message: 'either items or tasks is required, and not both',
  });
export type PlanInput = z.input<typeof plan>;
export type Plan = z.output<typeof plan>;

/** The name of the task that a need is for, and whether it must be completed. */
export const needsOf = ({ needs }: Pick<PlannedTask, 'needs'>): string[] =>
  needs.map((one) => (typeof one === 'string' ? one : one.task));
