/** The routes by which editors start and control executions. */
import { z } from 'zod';
import { EXAMPLE_VENTURE } from '../../executions/api/parameters.js';
import { type Route, type RouteResponse, route } from '../../ports/route.js';
import { Engine, started } from '../engine.js';
import { MOST_TASKS, name, task } from '../plan.js';
import { executionStatus, readStatus } from '../reads.js';
import { review } from '../review.js';
import { KEY, keyed, params, startBody, taskParams } from './inputs.js';

const ITEMS = [
  { id: 'market', text: 'Research the market' },
  { id: 'letter', text: 'Write the letter', needs: ['market'] },
];
const TASKS = [
  { name: 'find', agent_type: 'research' },
  { name: 'approve', kind: 'human', needs: ['find'] },
  { name: 'send', agent_type: 'email', needs: ['approve'] },
];
const bodyExamples = {
  items: { venture_id: EXAMPLE_VENTURE, items: ITEMS },
  tasks: { venture_id: EXAMPLE_VENTURE, tasks: TASKS, options: { on_failure: 'hold' } },
};

const validate = route({
  method: 'post',
  path: '/executions/validate',
  id: 'validatePlan',
  tag: 'Engine',
  summary: 'Check a plan',
  description:
    'What would become of it: order, width, critical path, cycles, agents without a worker. Nothing is written.',
  body: startBody,
  bodyExamples,
  responses: { 200: { description: 'The review.', body: review } },
  refusals: [],
  async handle({ body: { venture, plan }, database }) {
    return { status: 200, body: await new Engine(database).validate(venture, plan) };
  },
});

const start = route({
  method: 'post',
  path: '/executions/start',
  id: 'startExecution',
  tag: 'Engine',
  summary: 'Start an execution',
  description: 'From items, which rules turn into tasks, or from tasks. You must be an editor of the venture.',
  headers: keyed,
  body: startBody,
  bodyExamples,
  responses: {
    201: { description: 'Started. Subscribe to `execution:<execution_id>` with `since=<position>`.', body: started },
  },
  refusals: ['plan_invalid', 'idempotency_key_reused'],
  async handle({ body: { venture, plan }, headers: { [KEY]: key }, database }) {
    const { value, replayed } = await new Engine(database).start(venture, plan, key);
    return { status: 201, body: value, headers: replayed ? { 'Idempotent-Replayed': 'true' } : {} };
  },
});

const after = { 200: { description: 'The execution after the change.', body: executionStatus } };
const ofExecution = ['unknown_execution', 'state_conflict'] as const;

/** A route that changes one execution, and answers with its status. */
function change<B extends z.ZodType>(
  verb: string,
  summary: string,
  body: B,
  work: (engine: Engine, id: string, body: z.output<B>) => Promise<unknown>,
  refusals: Route['refusals'] = [],
): Route {
  return route({
    method: 'post',
    path: `/executions/:execution_id/${verb}`,
    id: `${verb.replace(/\/:.*/, '')}Execution`,
    tag: 'Engine',
    summary,
    params,
    body,
    responses: after,
    refusals: [...ofExecution, ...refusals],
    async handle({ params: { execution_id: id }, body, database }): Promise<RouteResponse> {
      await work(new Engine(database), id, body);
      return { status: 200, body: await readStatus(database, id) };
    },
  });
}

const text = z.string().max(1_000);
const changes = [
  change(
    'pause',
    'Pause an execution',
    z.strictObject({ mode: z.enum(['drain', 'stop']).default('drain') }),
    (engine, id, { mode }) => engine.pause(id, { mode }),
  ),
  change(
    'resume',
    'Resume an execution',
    z.strictObject({ budget: z.number().positive().max(1e12).optional() }),
    (engine, id, { budget }) => engine.resume(id, budget === undefined ? {} : { budget }),
    ['budget_reached'],
  ),
  change('cancel', 'Cancel an execution', z.strictObject({ reason: text.optional() }), (engine, id, { reason }) =>
    engine.cancel(id, reason),
  ),
];

const fork = route({
  method: 'post',
  path: '/executions/:execution_id/fork',
  id: 'forkExecution',
  tag: 'Engine',
  summary: 'Run the rest again, as a new execution',
  description:
    'Of an execution that has ended. What was completed keeps its output; everything else runs. With `from` also that task and what is behind it.',
  params,
  headers: keyed,
  body: z.strictObject({ from: name.optional() }),
  responses: { 201: { description: 'The new execution.', body: started } },
  refusals: [...ofExecution, 'unknown_task', 'idempotency_key_reused'],
  async handle({ params: { execution_id: id }, body: { from }, headers: { [KEY]: key }, database }) {
    const { value } = await new Engine(database).fork(id, from === undefined ? {} : { from }, key);
    return { status: 201, body: value };
  },
});

const signal = route({
  method: 'post',
  path: '/executions/:execution_id/signals/:name',
  id: 'signalExecution',
  tag: 'Engine',
  summary: 'Send a signal',
  description: 'Tasks that wait for it go on. The first of a name counts.',
  params: params.extend({ name }),
  body: z.strictObject({ payload: z.unknown().optional() }),
  responses: { 200: { description: 'Whether it was the first.', body: z.object({ first: z.boolean() }) } },
  refusals: ofExecution,
  async handle({ params: { execution_id: id, name }, body: { payload }, database }) {
    return { status: 200, body: { first: await new Engine(database).signal(id, name, payload) } };
  },
});

const add = route({
  method: 'post',
  path: '/executions/:execution_id/tasks',
  id: 'addTasks',
  tag: 'Engine',
  summary: 'Add tasks',
  params,
  body: z.strictObject({ tasks: z.array(task).min(1).max(MOST_TASKS) }),
  responses: { 201: { description: 'How many.', body: z.object({ added: z.int() }) } },
  refusals: [...ofExecution, 'plan_invalid'],
  async handle({ params: { execution_id: id }, body: { tasks }, database }) {
    return { status: 201, body: { added: await new Engine(database).addTasks(id, tasks) } };
  },
});

/** A route that changes one task. */
function taskChange<B extends z.ZodType>(
  verb: string,
  summary: string,
  body: B,
  work: (engine: Engine, id: string, body: z.output<B>) => Promise<unknown>,
): Route {
  return route({
    method: 'post',
    path: `/executions/:execution_id/tasks/:task_id/${verb}`,
    id: `${verb}Task`,
    tag: 'Engine',
    summary,
    params: taskParams,
    body,
    responses: after,
    refusals: [...ofExecution, 'unknown_task'],
    async handle({ params: { execution_id, task_id }, body, database }): Promise<RouteResponse> {
      await work(new Engine(database), task_id, body);
      return { status: 200, body: await readStatus(database, execution_id) };
    },
  });
}

const empty = z.strictObject({});
const taskChanges = [
  taskChange('retry', 'Retry a failed task', empty, (engine, id) => engine.retryTask(id)),
  taskChange('skip', 'Go on without a failed task', empty, (engine, id) => engine.skipTask(id)),
  taskChange(
    'complete',
    'Complete a task of the kind human',
    z.strictObject({ output: z.unknown().optional() }),
    (engine, id, { output }) => engine.finishTask(id, output),
  ),
];

export const controlRoutes = (): Route[] => [validate, start, ...changes, fork, signal, add, ...taskChanges];
