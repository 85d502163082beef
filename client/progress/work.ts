import { type Fields, fields, text, whole } from './field.js';

/** The number of stages of a plan that are kept, and the highest stage whose steps are counted separately. */
export const MAX_STAGES = 100;
/** The longest name of a stage, a step or an agent, in characters. */
export const MAX_NAME = 200;
const MAX_TOTAL = 1e9;

export interface PlannedStage {
  readonly name: string | null;
  /** The number of its steps; null if the plan does not say. */
  readonly steps: number | null;
}

export type Plan = readonly PlannedStage[];

/** The work done, and the total. Past stages count as done completely. */
export interface Work {
  readonly unit: 'stages' | 'steps';
  readonly done: number;
  /** Null if it is not known. */
  readonly total: number | null;
}

/** The total number of steps in a field. */
export const total = (value: unknown): number | null => whole(value, 1, MAX_TOTAL);

/** The plan in the context of an event; null if there is none. */
export function planIn(context: Fields): Plan | null {
  if (!Array.isArray(context.stages) || context.stages.length === 0) return null;
  return context.stages.slice(0, MAX_STAGES).map((stage: unknown) => {
    const { name, steps } = fields(stage);
    return { name: text(name, MAX_NAME), steps: total(steps) };
  });
}

/** The number of steps of a plan; null unless all of its stages say. */
export function plannedSteps(plan: Plan): number | null {
  return plan.reduce<number | null>((sum, { steps }) => (sum === null || steps === null ? null : sum + steps), 0);
}

/**
 * The work by the plan, if there is one: a stage counts as the number of its steps, or, unless all stages have one, each
 * counts the same. `credit` has the hundredths of steps done, by the number of the stage; at index 0 those without a stage.
 */
export function workDone(plan: Plan | null, told: number | null, stage: number, credit: readonly number[]): Work {
  if (plan === null) {
    return { unit: 'steps', done: credit.reduce((sum, hundredths) => sum + hundredths, 0) / 100, total: told };
  }
  const steps = plannedSteps(plan);
  let done = steps === null ? 0 : (credit[0] ?? 0) / 100; // steps without a stage count as well
  for (const [index, planned] of plan.entries()) {
    const share = steps === null ? 1 : (planned.steps ?? 1);
    const inside = planned.steps === null ? 0 : Math.min((credit[index + 1] ?? 0) / 100 / planned.steps, 1);
    done += share * (index + 1 < stage ? 1 : inside);
  }
  return { unit: steps === null ? 'stages' : 'steps', done, total: steps ?? plan.length };
}
