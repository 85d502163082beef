/** The routes of schedules: executions that are started by the clock. */
import { z } from 'zod';
import { EXAMPLE_VENTURE, ventureId } from '../../executions/api/parameters.js';
import { type Route, route } from '../../ports/route.js';
import { name, plan } from '../plan.js';
import * as list from '../schedule-list.js';

const params = z.object({ schedule_id: z.guid('must be the id of a schedule: a UUID').toLowerCase() });
const TAG = 'Schedules';
const changed = { 200: { description: 'The schedule.', body: list.scheduleView } };
const PATH = '/agents/schedules';

const listRoute = route({
  method: 'get',
  path: PATH,
  id: 'listSchedules',
  tag: TAG,
  summary: 'The schedules of a venture',
  query: z.strictObject({ venture_id: ventureId }),
  responses: {
    200: { description: 'By name, without the plans.', body: z.object({ schedules: z.array(list.listedSchedule) }) },
  },
  refusals: ['unknown_venture'],
  async handle({ query: { venture_id }, database }) {
    return { status: 200, body: { schedules: await list.listSchedules(database, venture_id) } };
  },
});

const read = route({
  method: 'get',
  path: `${PATH}/:schedule_id`,
  id: 'getSchedule',
  tag: TAG,
  summary: 'One schedule',
  params,
  responses: changed,
  refusals: ['unknown_schedule'],
  async handle({ params: { schedule_id }, database }) {
    return { status: 200, body: await list.readSchedule(database, schedule_id) };
  },
});

const create = route({
  method: 'post',
  path: PATH,
  id: 'createSchedule',
  tag: TAG,
  summary: 'Create a schedule',
  description: `Gateways start an execution at each time of the cron expression, one however many gateways there are. Times that
pass while no gateway runs start one execution, not one each.`,
  body: z.strictObject({
    venture_id: ventureId,
    name: name.meta({ description: 'Unique in the venture.' }),
    cron: z.string().min(1).max(200).meta({ description: 'Five fields, or six with seconds first.' }),
    timezone: z.string().min(1).max(100).default('UTC').meta({ description: 'As in `Europe/Berlin`.' }),
    overlap: list.overlap.default('skip'),
    request: plan,
  }),
  bodyExamples: {
    nightly: {
      venture_id: EXAMPLE_VENTURE,
      name: 'nightly',
      cron: '0 3 * * *',
      timezone: 'Europe/Berlin',
      request: { tasks: [{ name: 'find', agent_type: 'research' }] },
    },
  },
  responses: { 201: { description: 'The schedule, with the time of its next execution.', body: list.scheduleView } },
  refusals: ['unknown_venture', 'plan_invalid', 'state_conflict'],
  async handle({ body: { venture_id, ...wanted }, database }) {
    return { status: 201, body: await list.createSchedule(database, venture_id, wanted) };
  },
});

const change = route({
  method: 'patch',
  path: `${PATH}/:schedule_id`,
  id: 'changeSchedule',
  tag: TAG,
  summary: 'Pause a schedule, or resume it',
  description: 'What it would have started while it was paused is not started.',
  params,
  body: z.strictObject({ enabled: z.boolean() }),
  responses: changed,
  refusals: ['unknown_schedule'],
  async handle({ params: { schedule_id }, body: { enabled }, database }) {
    return { status: 200, body: await list.enableSchedule(database, schedule_id, enabled) };
  },
});

const remove = route({
  method: 'delete',
  path: `${PATH}/:schedule_id`,
  id: 'deleteSchedule',
  tag: TAG,
  summary: 'Delete a schedule',
  description: 'Its executions stay.',
  params,
  responses: changed,
  refusals: ['unknown_schedule'],
  async handle({ params: { schedule_id }, database }) {
    return { status: 200, body: await list.deleteSchedule(database, schedule_id) };
  },
});

export const scheduleRoutes = (): Route[] => [listRoute, read, create, change, remove];
