import type { Random } from '../support/random.js';
import type { Nemesis } from './nemeses/nemesis.js';

/** One fault that is to come. Times in milliseconds, `at` since the faults began. */
export interface Planned {
  readonly at: number;
  readonly nemesis: Nemesis;
  readonly gateway: number;
  readonly holdMs: number;
  readonly seed: number;
}

export interface ScheduleOptions {
  readonly nemeses: readonly Nemesis[];
  readonly gateways: number;
  readonly durationMs: number;
  readonly random: Random;
  /** The shortest and the longest time from one fault to the next. */
  readonly every: readonly [number, number];
  /** No fault lasts longer. */
  readonly longestMs: number;
}

/** How often a nemesis of weight 1 is in one round. */
const ROUND = 2;
/** The weight of a nemesis that is in each round once. */
export const ONCE_A_ROUND = 1 / ROUND;

/**
 * The faults of a campaign, all drawn in advance, so that a seed gives the same ones again. Each round has every
 * nemesis in it, by its weight. Processes of odd gateways are ended in the first half only, those of even ones in the second:
 * so each gateway has a process that lives through half a campaign, whose memory can be compared.
 */
export function makeSchedule({ nemeses, gateways, durationMs, random, every, longestMs }: ScheduleOptions): Planned[] {
  const planned: Planned[] = [];
  let round: Nemesis[] = [];
  for (let at = random.int(...every); at < durationMs; at += random.int(...every)) {
    if (round.length === 0) round = random.shuffled(nemeses.flatMap((nemesis) => repeat(nemesis)));
    const nemesis = round.pop();
    if (nemesis === undefined) break;
    const all = Array.from({ length: gateways }, (_, index) => index);
    const half = all.filter((index) => index % 2 === (at < durationMs / 2 ? 1 : 0));
    const gateway = random.pick(nemesis.kills && half.length > 0 ? half : all);
    const [shortest, longest] = nemesis.lasts;
    const holdMs = Math.min(random.int(shortest, longest), longestMs);
    planned.push({ at, nemesis, gateway, holdMs, seed: random.int(0, 2 ** 31) });
  }
  return planned;
}

function repeat(nemesis: Nemesis): Nemesis[] {
  return Array.from({ length: Math.max(1, Math.round((nemesis.weight ?? 1) * ROUND)) }, () => nemesis);
}
