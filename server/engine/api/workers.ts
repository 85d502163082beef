/** The routes for workers in any language: claim by long poll, and reports with the lease as a header. */
import { z } from 'zod';
import { nothing } from '../../ground/nothing.js';
import { Refusal } from '../../ground/refusal.js';
import type { ExtensionContext } from '../../ports/extension.js';
import { type Route, type RouteResponse, route } from '../../ports/route.js';
import { answer, claimedTask, type Held, Leases } from '../leases.js';
import * as inputs from './inputs.js';
import { LEASE, leased, workerParams } from './inputs.js';

/** How often a waiting claim looks without being rung, in milliseconds: for what becomes due by the time. */
const LOOK = 1_000;
/** The minimum time between two looks that rows have caused, in milliseconds. */
const SOON = 10;

function claimRoute({ onRows, clock }: Pick<ExtensionContext, 'onRows' | 'clock'>): Route {
  /** `arrival` resolves when rows of executions arrive, after the time, or at `stop`. */
  const rows = (time: number) => {
    const stops: (() => void)[] = [];
    let resolveArrival = nothing;
    const arrival = new Promise<void>((resolve) => {
      resolveArrival = resolve;
    });
    const stop = () => {
      for (const each of stops.splice(0)) each();
      resolveArrival();
    };
    stops.push(
      clock.after(time, stop),
      onRows('execution', () => void stops.push(clock.after(SOON, stop))),
    );
    return { arrival, stop };
  };
  return route({
    method: 'post',
    path: '/agents/tasks/claim',
    id: 'claimTask',
    tag: 'Workers',
    summary: 'Claim a task',
    description: `Answers as soon as there is a task, or after \`wait\` seconds with \`{"task": null}\`. Report with the \`lease\`
before \`lease_ms\` have passed, or send heartbeats: a task whose lease is over runs again elsewhere.`,
    body: inputs.claimBody,
    bodyExamples: { one: { worker: 'python-1', agent_types: ['email'], wait: 20 } },
    responses: { 200: { description: 'The task, or null.', body: z.object({ task: claimedTask.nullable() }) } },
    refusals: [],
    async handle({ body: { worker, agent_types, wait, slots, version }, database, gone }): Promise<RouteResponse> {
      const leases = new Leases(database);
      const ends = clock.now() + wait * 1_000;
      if (slots !== undefined) await leases.seen(worker, agent_types, slots, version);
      for (;;) {
        // Before it looks: what arrives meanwhile must not be missed.
        const { arrival, stop } = rows(Math.max(0, Math.min(LOOK, ends - clock.now())));
        try {
          const task = await leases.claim(worker, agent_types);
          if (task !== null && gone()) await leases.release(task);
          if (task !== null || gone() || clock.now() >= ends) return { status: 200, body: { task } };
          await arrival;
        } finally {
          stop();
        }
      }
    },
  });
}

/** A report on a running task. Those that return false have come too late. */
function report<B extends z.ZodType>(
  verb: string,
  summary: string,
  body: B,
  work: (leases: Leases, held: Held, body: z.output<B>) => Promise<boolean>,
): Route {
  return route({
    method: 'post',
    path: `/agents/tasks/:task_id/${verb}`,
    id: `${verb}LeasedTask`,
    tag: 'Workers',
    summary,
    params: workerParams,
    headers: leased,
    body,
    responses: {
      200: {
        description: 'Done. The same report again is answered in the same way.',
        body: z.object({ done: z.literal(true) }),
      },
    },
    refusals: ['lease_lost'],
    async handle({ params: { task_id }, headers: { [LEASE]: lease }, body, database }): Promise<RouteResponse> {
      if (!(await work(new Leases(database), { task_id, lease }, body))) throw new Refusal('lease_lost');
      return { status: 200, body: { done: true } };
    },
  });
}

const heartbeat = route({
  method: 'post',
  path: '/agents/tasks/:task_id/heartbeat',
  id: 'heartbeatTask',
  tag: 'Workers',
  summary: 'Say that a task is still running',
  description: 'Lengthens the lease. `percent` and `message` become an event, at most one a second.',
  params: workerParams,
  headers: leased,
  body: inputs.heartbeatBody,
  responses: {
    200: {
      description: '`continue`, or `cancelled`: then stop working.',
      body: z.object({ answer: answer.exclude(['lost']) }),
    },
  },
  refusals: ['lease_lost'],
  async handle({ params: { task_id }, headers: { [LEASE]: lease }, body, database }) {
    const said = await new Leases(database).heartbeat({ task_id, lease }, body);
    if (said === 'lost') throw new Refusal('lease_lost');
    return { status: 200, body: { answer: said } };
  },
});

export const workerRoutes = (context: Pick<ExtensionContext, 'onRows' | 'clock'>): Route[] => [
  claimRoute(context),
  heartbeat,
  report('complete', 'Report that a task is done', inputs.completeBody, (leases, held, { output, usage }) =>
    leases.complete(held, output, usage),
  ),
  report('fail', 'Report that a task failed', inputs.failBody, (leases, held, { usage, ...error }) =>
    leases.fail(held, error, usage),
  ),
  report('release', 'Give a task back', z.strictObject({}), (leases, held) => leases.release(held)),
  report(
    'wait',
    'Give the slot back until a signal or a time',
    inputs.waitBody,
    (leases, held, { signal, until, checkpoint }) =>
      leases.wait(held, signal ?? null, until === undefined ? null : new Date(until), checkpoint),
  ),
];
