/** Runs one scenario: every round, every shape, every system in turn. */
import { endAll } from './ends.js';
import { Results, type Turn } from './figures.js';
import type { Must, Scenario } from './scenario.js';

/** Complete in itself: a page is made of it, on another day, without the scenario. */
export interface Outcome extends Pick<Scenario, 'name' | 'title' | 'about' | 'shapes' | 'columns' | 'chart'> {
  readonly rounds: number;
  readonly seconds: number;
  /** How long the scenario took in all, in seconds. */
  readonly took: number;
  readonly turns: readonly Turn[];
  /** Systems that were left out, and why. */
  readonly leftOut: Readonly<Record<string, string>>;
  readonly musts: readonly Must[];
}

interface Options {
  readonly quick: boolean;
  readonly rounds: number | undefined;
  readonly seconds: number | undefined;
}

/** Of a quick run: seconds of a turn, and the part of the connections and rows. */
const QUICK_SECONDS = 0.4;
const QUICK_PART = 0.02;

export async function runScenario(scenario: Scenario, options: Options): Promise<Outcome> {
  const { quick } = options;
  const rounds = options.rounds ?? (quick ? 1 : scenario.rounds);
  const seconds = options.seconds ?? (quick ? QUICK_SECONDS : scenario.seconds);
  const began = performance.now();
  const leftOut: Record<string, string> = {};
  const turns: Turn[] = [];
  try {
    const turn = await scenario.open({
      rounds,
      seconds,
      quick,
      scale: (n) => (quick ? Math.ceil(n * QUICK_PART) : n),
      leaveOut(system, why) {
        leftOut[system] = why;
        process.stdout.write(`${scenario.name}: ${system} is left out: ${why}\n`);
      },
    });
    for (let round = 0; round < rounds; round++) {
      for (const { name: shape, systems } of scenario.shapes) {
        // Back and forth, so that none always follows the same neighbour.
        for (const system of round % 2 === 0 ? systems : systems.toReversed()) {
          if (system in leftOut) continue;
          const measured = await turn({ system, shape, round, seconds });
          turns.push({ system, shape, round, ...measured });
          report(scenario, turns.at(-1));
        }
      }
    }
  } finally {
    await endAll();
  }
  const took = (performance.now() - began) / 1000;
  const results = new Results(turns);
  // What is left out, or took no CPU time that shows, cannot be compared with.
  const musts = scenario.musts(results).filter(({ value }) => Number.isFinite(value));
  const { name, title, about, shapes, columns, chart } = scenario;
  return { name, title, about, shapes, columns, chart, rounds, seconds, took, turns, leftOut, musts };
}

/** A line for each turn, as it ends: a run that is interrupted has shown something. */
function report({ name, columns }: Scenario, turn: Turn | undefined): void {
  if (!turn) return;
  const { system, shape, round, figures, cores } = turn;
  const shown = columns.map(
    ({ figure, title, digits }) => `${title} ${(figures[figure] ?? Number.NaN).toFixed(digits)}`,
  );
  const used = Object.entries(cores).map(([part, value]) => `${part} ${value.toFixed(2)}`);
  process.stdout.write(
    `${name} ${shape} · ${system} · ${round + 1}: ${shown.join(', ')} (cores: ${used.join(', ')})\n`,
  );
}
