/**
 * The graph of a plan: its order, a cycle, and the longest way through it. Nothing here calls itself, because a plan may be
 * a chain of thousands of tasks.
 */
import { needsOf, type PlannedTask } from './plan.js';

/** A plan that cannot be run. `cycle` names its tasks in order, the first one again at the end. */
export class PlanInvalid extends Error {
  override readonly name = 'PlanInvalid';
  readonly cycle: readonly string[] | null;

  constructor(message: string, cycle: readonly string[] | null = null) {
    super(message);
    this.cycle = cycle;
  }
}

type Named = Pick<PlannedTask, 'name' | 'needs'>;

export interface Order {
  /** Each task after all that it needs, and otherwise as in the plan. */
  readonly names: readonly string[];
  /** By name: 1 for a task that needs none, else one more than the highest of those that it needs. */
  readonly level: ReadonlyMap<string, number>;
  /** The maximum number of tasks on one level. */
  readonly width: number;
}

/** Orders tasks. Throws `PlanInvalid` if two have one name, one needs what is not there, or there is a cycle. */
export function orderOf(tasks: readonly Named[]): Order {
  const open = new Map<string, number>();
  const level = new Map<string, number>();
  const behind = new Map<string, string[]>();
  for (const { name } of tasks) {
    if (open.has(name)) throw new PlanInvalid(`two tasks have the name ${name}`);
    open.set(name, 0);
  }
  for (const task of tasks) {
    for (const need of new Set(needsOf(task))) {
      if (!open.has(need)) throw new PlanInvalid(`task ${task.name} needs ${need}, which is not a task`);
      open.set(task.name, (open.get(task.name) ?? 0) + 1);
      const waiting = behind.get(need);
      if (waiting === undefined) behind.set(need, [task.name]);
      else waiting.push(task.name);
    }
  }
  const names = tasks.filter(({ name }) => open.get(name) === 0).map(({ name }) => name);
  for (const name of names) level.set(name, 1);
  // The list grows while it is walked.
  for (const name of names) {
    for (const next of behind.get(name) ?? []) {
      level.set(next, Math.max(level.get(next) ?? 1, (level.get(name) ?? 1) + 1));
      const left = (open.get(next) ?? 0) - 1;
      open.set(next, left);
      if (left === 0) names.push(next);
    }
  }
  if (names.length < tasks.length) throw invalid(cycleIn(tasks, new Set(names)));
  const widths = new Map<number, number>();
  for (const at of level.values()) widths.set(at, (widths.get(at) ?? 0) + 1);
  return { names, level, width: [...widths.values()].reduce((most, width) => Math.max(most, width), 0) };
}

const invalid = (cycle: readonly string[]) => new PlanInvalid(`a cycle: ${cycle.join(' → ')}`, cycle);

/** Each task that could not be ordered needs another one of them, so that a walk along the needs must come back. */
function cycleIn(tasks: readonly Named[], ordered: ReadonlySet<string>): string[] {
  const left = new Map(tasks.filter(({ name }) => !ordered.has(name)).map((task) => [task.name, task]));
  const way = new Map<string, number>();
  let at = left.keys().next().value ?? '';
  while (!way.has(at)) {
    way.set(at, way.size);
    at = needsOf(left.get(at) ?? { needs: [] }).find((need) => left.has(need)) ?? '';
  }
  return [...[...way.keys()].slice(way.get(at)), at];
}

/** The chain of tasks that takes longest, by the duration of each; the first of equals. */
export function criticalPath(
  tasks: readonly Named[],
  { names }: Order,
  duration: (name: string) => number = () => 1,
): { readonly names: string[]; readonly length: number } {
  const byName = new Map(tasks.map((task) => [task.name, task]));
  const ends = new Map<string, { readonly at: number; readonly before: string | undefined }>();
  let last: string | undefined;
  for (const name of names) {
    let before: string | undefined;
    for (const need of needsOf(byName.get(name) ?? { needs: [] })) {
      if (before === undefined || (ends.get(need)?.at ?? 0) > (ends.get(before)?.at ?? 0)) before = need;
    }
    ends.set(name, { at: (ends.get(before ?? '')?.at ?? 0) + duration(name), before });
    if (last === undefined || (ends.get(name)?.at ?? 0) > (ends.get(last)?.at ?? 0)) last = name;
  }
  const way: string[] = [];
  for (let at = last; at !== undefined; at = ends.get(at)?.before) way.push(at);
  return { names: way.reverse(), length: ends.get(last ?? '')?.at ?? 0 };
}
