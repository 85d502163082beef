/** What the executions of the demo do. Agents only wait; how long, and whether they fail, is in the input of a task. */
import { z } from 'zod';
import type { PlanInput, TaskInput } from './plan.js';

/** The input of a task of the demo. `takes` is in milliseconds; the first attempts fail with `fails`. */
export const pretended = z.object({
  takes: z.number(),
  fails: z.object({ times: z.int(), class: z.string(), message: z.string() }).optional(),
});
type Fails = z.output<typeof pretended>['fails'];

export interface DemoRun {
  readonly kind: string;
  readonly title: string;
  readonly tasks: readonly TaskInput[];
  readonly options: NonNullable<PlanInput['options']>;
}

const STAGES = [
  ['plan', 'planner', ['read the issue', 'list the open questions', 'write the plan']],
  ['explore', 'reader', ['list the files', 'read src/fields.py', 'read tests/test_fields.py', 'find the callers']],
  ['reproduce', 'tester', ['write reproduce.py', 'run reproduce.py', 'confirm the wrong result']],
  ['fix', 'coder', ['edit src/fields.py', 'round instead of truncate', 'run reproduce.py again']],
  ['verify', 'tester', ['run the tests', 'add a test', 'run the tests again', 'remove reproduce.py', 'submit']],
] as const;

const LANES = [
  ['researcher', ['read the guide', 'read the API', 'collect the examples', 'summarize']],
  ['writer', ['draft the overview', 'draft the tutorial', 'draft the reference', 'check the links']],
  ['reviewer', ['review the guide', 'review the overview', 'review the tutorial']],
  ['publisher', ['set up the site', 'choose a theme', 'build the site']],
] as const;

/** What fails: the first until its third attempt; the second for good, unless a person retries it. */
const FAILS: Readonly<Record<string, Fails>> = {
  'run the tests': { times: 2, class: 'transient', message: 'the model did not answer within 30 s' },
  'review the overview': { times: 1, class: 'permanent', message: 'the overview has no title' },
};

/** From 700 to 2,500 ms, the same for the same task. */
const takes = (index: number) => 700 + ((index * 733) % 1800);

const input = (name: string, time: number) => ({ takes: time, ...(FAILS[name] && { fails: FAILS[name] }) });

/** One task after the other, in stages. One of them fails twice, and then works. */
const staged: DemoRun = {
  kind: 'staged',
  title: 'Fix the rounding of fields',
  tasks: STAGES.flatMap(([, agent, names], stage) => names.map((name) => ({ name, agent, stage: stage + 1 }))).map(
    ({ name, agent, stage }, index, all) => ({
      name,
      agent_type: agent,
      stage,
      input: input(name, takes(index)),
      needs: index === 0 ? [] : [all[index - 1]?.name ?? ''],
    }),
  ),
  options: { stages: STAGES.map(([name]) => name), budget: 2 },
};

/** Four agents at the same time. One fails for good: what needs it is skipped, the others go on, and the last joins them. */
const parallel: DemoRun = {
  kind: 'parallel',
  title: 'Write the documentation',
  tasks: [
    ...LANES.flatMap(([agent, names], lane) =>
      names.map((name, index) => ({
        name,
        agent_type: agent,
        input: input(name, 3 * takes(lane * 5 + index * 3)),
        needs: index === 0 ? [] : [names[index - 1] ?? ''],
      })),
    ),
    {
      name: 'publish',
      agent_type: 'publisher',
      input: input('publish', 3_000),
      needs: LANES.map(([, names]) => ({ task: names.at(-1) ?? '', on: 'ended' as const })),
    },
  ],
  options: { stages: ['gather', 'draft', 'review', 'check', 'publish'], budget: 2 },
};

export const RUNS: readonly DemoRun[] = [staged, parallel];
