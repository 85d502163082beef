import { type Fields, fields, text, whole } from './field.js';

/** Stages of a plan that are kept, and the highest number of a stage whose steps are counted by themselves. */
export const MAX_STAGES = 100;
/** Characters of the name of a stage, a step or an agent. */
export const MAX_NAME = 200;
const MAX_TOTAL = 1e9;

export interface PlannedStage {
  readonly name: string | null;
  /** How many steps it will have; null: the plan does not say. */
  readonly steps: number | null;
}

export type Plan = readonly PlannedStage[];

/** How much has been done of how much. Past stages count as done, whatever was done in them. */
export interface Work {
  readonly unit: 'stages' | 'steps';
  readonly done: number;
  /** Null: nobody has said. */
  readonly total: number | null;
}

/** How many steps the writer says there will be. */
export const total = (value: unknown): number | null => whole(value, 1, MAX_TOTAL);

/** The plan in the context of an event; null where there is none. */
export function planIn(context: Fields): Plan | null {
  if (!Array.isArray(context.stages) || context.stages.length === 0) return null;
  return context.stages.slice(0, MAX_STAGES).map((stage: unknown) => {
    const { name, steps } = fields(stage);
    return { name: text(name, MAX_NAME), steps: total(steps) };
  });
}

/** How many steps a plan has; null where not all of its stages say. */
export function plannedSteps(plan: Plan): number | null {
  return plan.reduce<number | null>((sum, { steps }) => (sum === null || steps === null ? null : sum + steps), 0);
}

/**
 * By the plan, where there is one: each stage counts as many as it has steps, or, if not all of them say, all the same.
 * `credit` has the hundredths of steps done in each stage, under its number; under 0 those of no stage.
 */
export function workDone(plan: Plan | null, told: number | null, stage: number, credit: readonly number[]): Work {
  if (plan === null) {
    return { unit: 'steps', done: credit.reduce((sum, hundredths) => sum + hundredths, 0) / 100, total: told };
  }
  const steps = plannedSteps(plan);
  let done = steps === null ? 0 : (credit[0] ?? 0) / 100; // a step of no stage is one of the steps all the same
  for (const [index, planned] of plan.entries()) {
    const share = steps === null ? 1 : (planned.steps ?? 1);
    const inside = planned.steps === null ? 0 : Math.min((credit[index + 1] ?? 0) / 100 / planned.steps, 1);
    done += share * (index + 1 < stage ? 1 : inside);
  }
  return { unit: steps === null ? 'stages' : 'steps', done, total: steps ?? plan.length };
}
