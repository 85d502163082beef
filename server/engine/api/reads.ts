import { z } from 'zod';
import { conditional, etag, unchanged } from '../../executions/api/conditional.js';
import { ventureId } from '../../executions/api/parameters.js';
import { Progresses } from '../../executions/reads/progress.js';
import { type Route, route } from '../../ports/route.js';
import { health, readHealth } from '../health.js';
import * as reads from '../reads.js';
import { params, taskParams } from './inputs.js';

/** The maximum and the default number of tasks on a page. */
const MAX_TASKS = 1_000;
const TASKS = 200;

const status = route({
  method: 'get',
  path: '/executions/:execution_id/status',
  id: 'getEngineStatus',
  tag: 'Engine',
  summary: 'Status and counts of one execution',
  params,
  headers: conditional,
  responses: {
    200: { description: 'The execution.', headers: etag, body: reads.executionStatus },
    304: unchanged,
  },
  refusals: ['unknown_execution'],
  async handle({ params: { execution_id: id }, database }) {
    const body = await reads.readStatus(database, id);
    return {
      status: 200,
      body,
      etag: `W/"${body.position}-${body.spent}"`,
      headers: { 'Cache-Control': 'private, no-cache' },
    };
  },
});

const tasks = route({
  method: 'get',
  path: '/executions/:execution_id/tasks',
  id: 'listTasks',
  tag: 'Engine',
  summary: 'The tasks of one execution',
  params,
  query: z.strictObject({
    after: z.coerce
      .number()
      .int()
      .min(0)
      .max(1_000_000)
      .default(0)
      .meta({ description: 'The `next` of the page before.' }),
    limit: z.coerce.number().int().min(1).max(MAX_TASKS).default(TASKS),
    values: z.enum(['0', '1']).default('1').meta({ description: '`0`: inputs and outputs are not read, and null.' }),
  }),
  responses: {
    200: {
      description: 'In the order of the plan. A page has up to 1 MiB, and at least one task.',
      body: z.object({
        execution: reads.executionStatus.nullable().meta({ description: 'Null: the engine does not run it.' }),
        tasks: z.array(reads.taskView),
        next: z.int().nullable(),
        position: z.string(),
      }),
    },
  },
  refusals: ['unknown_execution'],
  async handle({ params: { execution_id: id }, query: { after, limit, values }, database }) {
    return { status: 200, body: await reads.readTasks(database, id, after, limit, values === '1') };
  },
});

const task = route({
  method: 'get',
  path: '/executions/:execution_id/tasks/:task_id',
  id: 'getTask',
  tag: 'Engine',
  summary: 'One task of an execution',
  params: taskParams,
  responses: { 200: { description: 'The task.', body: reads.taskView } },
  refusals: ['unknown_execution', 'unknown_task'],
  async handle({ params: { execution_id: id, task_id }, database }) {
    return { status: 200, body: await reads.readTask(database, id, task_id) };
  },
});

const propagation = route({
  method: 'get',
  path: '/executions/:execution_id/propagation',
  id: 'getPropagation',
  tag: 'Engine',
  summary: 'How items became tasks',
  description: 'For each item the rules that matched, by which word, and those that lost.',
  params,
  responses: { 200: { description: 'By item.', body: z.object({ propagations: z.array(reads.propagationView) }) } },
  refusals: ['unknown_execution'],
  async handle({ params: { execution_id: id }, database }) {
    return { status: 200, body: { propagations: await reads.readPropagations(database, id) } };
  },
});

/** `progresses`: folded progress, which is kept from one request to the next. */
const healthRoute = (progresses: Progresses) =>
  route({
    method: 'get',
    path: '/executions/:execution_id/health',
    id: 'getEngineHealth',
    tag: 'Engine',
    summary: 'Health of one execution',
    description:
      'Its score with reasons, what is in its way (such as agents without a live worker), and when it will end by its critical path.',
    params,
    responses: { 200: { description: 'The health now, and its latest snapshots.', body: health } },
    refusals: ['unknown_execution'],
    async handle({ params: { execution_id: id }, database }) {
      return { status: 200, body: await readHealth(database, progresses, id, Date.now()) };
    },
  });

const workers = route({
  method: 'get',
  path: '/agents/workers',
  id: 'listWorkers',
  tag: 'Workers',
  summary: 'The workers of the last day',
  responses: {
    200: { description: 'The one that was seen last first.', body: z.object({ workers: z.array(reads.workerView) }) },
  },
  refusals: [],
  async handle({ database }) {
    return { status: 200, body: { workers: (await reads.readWorkers(database)).map(({ row }) => row) } };
  },
});

const types = route({
  method: 'get',
  path: '/agents/types',
  id: 'listAgentTypes',
  tag: 'Workers',
  summary: 'The types of agents and their policies',
  responses: { 200: { description: 'By name.', body: z.object({ types: z.array(reads.typeView) }) } },
  refusals: [],
  async handle({ database }) {
    return { status: 200, body: { types: await reads.readTypes(database) } };
  },
});

const deadLetters = route({
  method: 'get',
  path: '/agents/dead-letters',
  id: 'listDeadLetters',
  tag: 'Engine',
  summary: 'Failed tasks of executions that have ended',
  description: 'The latest 200 of a venture. A fork of the execution runs them again.',
  query: z.strictObject({ venture_id: ventureId }),
  responses: { 200: { description: 'The latest first.', body: z.object({ dead_letters: z.array(reads.deadLetter) }) } },
  refusals: [],
  async handle({ query: { venture_id }, database }) {
    return {
      status: 200,
      body: { dead_letters: (await reads.readDeadLetters(database, venture_id)).map(({ row }) => row) },
    };
  },
});

export const readRoutes = (): Route[] => [
  status,
  tasks,
  task,
  propagation,
  healthRoute(new Progresses()),
  workers,
  types,
  deadLetters,
];
