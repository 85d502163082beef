/** What the executions of the demo do: the steps of each lane one after the other, the lanes at the same time. */

export interface DemoStep {
  readonly id: string;
  readonly agent: string;
  readonly name: string;
  /** The number and the name of its stage; null for none. */
  readonly stage: { readonly number: number; readonly name: string } | null;
  /** How long it takes, in milliseconds. */
  readonly takes: number;
  /** The error of its first attempt, after which it is tried again; null for none. */
  readonly fails: string | null;
}

export interface DemoRun {
  readonly kind: string;
  readonly title: string;
  readonly lanes: readonly (readonly DemoStep[])[];
}

const STAGES = [
  ['plan', 'planner', ['read the issue', 'list the open questions', 'write the plan']],
  ['explore', 'reader', ['list the files', 'read src/fields.py', 'read tests/test_fields.py', 'find the callers']],
  ['reproduce', 'tester', ['write reproduce.py', 'run reproduce.py', 'confirm the wrong result']],
  ['fix', 'coder', ['edit src/fields.py', 'run reproduce.py', 'round instead of truncate', 'run reproduce.py']],
  ['verify', 'tester', ['run the tests', 'add a test', 'run the tests', 'remove reproduce.py', 'submit']],
] as const;

const AGENTS = [
  ['reader', ['read the guide', 'read the API', 'collect the examples', 'summarize']],
  ['writer', ['draft the overview', 'draft the tutorial', 'draft the reference', 'check the links']],
  ['reviewer', ['wait for a draft', 'review the overview', 'review the tutorial']],
  ['publisher', ['set up the site', 'build the site', 'publish']],
] as const;

/** Fails at first: the tutorial of the writer. */
const FAILS = new Map([['draft the tutorial', 'the model did not answer within 30 s']]);

/** Between 700 and 2,500 ms, the same for the same step. */
const takes = (index: number) => 700 + ((index * 733) % 1800);

/** One step after the other, in stages. */
const staged: DemoRun = {
  kind: 'staged',
  title: 'Fix the rounding of fields',
  lanes: [
    STAGES.flatMap(([stage, agent, names], at) =>
      names.map((name) => ({ name, agent, stage: { number: at + 1, name: stage } })),
    ).map((step, index) => ({ ...step, id: `step-${index + 1}`, takes: takes(index), fails: null })),
  ],
};

/** Four agents at the same time, of which one fails and is tried again. */
const parallel: DemoRun = {
  kind: 'parallel',
  title: 'Write the documentation',
  lanes: AGENTS.map(([agent, names], lane) =>
    names.map((name, index) => ({
      id: `${agent}-${index + 1}`,
      name,
      agent,
      stage: null,
      takes: 4 * takes(lane * 5 + index * 3),
      fails: FAILS.get(name) ?? null,
    })),
  ),
};

export const RUNS: readonly DemoRun[] = [staged, parallel];

/** The plan of a run, as an `execution-planned` event has it; null if it has no stages. */
export function planOf({ lanes }: DemoRun): { stages: { name: string; steps: number }[] } | null {
  const counts = new Map<string, number>();
  for (const { stage } of lanes.flat()) if (stage !== null) counts.set(stage.name, (counts.get(stage.name) ?? 0) + 1);
  return counts.size === 0 ? null : { stages: [...counts].map(([name, steps]) => ({ name, steps })) };
}
