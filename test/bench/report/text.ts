/** A scenario as lines for a terminal. */
import { median, Results } from '../harness/figures.js';
import type { Outcome } from '../harness/run.js';
import type { Must } from '../harness/scenario.js';

export type Verdict = 'aim' | 'floor' | 'missed';

export function verdictOf({ value, floor, aim, better }: Must): Verdict {
  const reaches = (bound: number) => (better === 'more' ? value >= bound : value <= bound);
  return reaches(aim) ? 'aim' : reaches(floor) ? 'floor' : 'missed';
}

/** With three digits that count, and without an exponent. */
export const short = (value: number) =>
  Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en') : `${Number(value.toPrecision(3))}`;

export function mustLine(must: Must): string {
  const { figure, value, floor, aim, better } = must;
  const word = better === 'more' ? 'at least' : 'at most';
  return `${figure}: ${short(value)} (${word} ${short(floor)}, aim ${short(aim)})`;
}

const VERDICTS = { aim: 'aim reached ', floor: 'floor holds ', missed: 'NOT REACHED ' } as const;

export function textOf(outcome: Outcome): string {
  const { name, title, columns, shapes } = outcome;
  const results = new Results(outcome.turns);
  const lines = [`\n${name} ${title}: medians of ${outcome.rounds}, ${outcome.took.toFixed(0)} s`];
  for (const { name: shape, systems } of shapes) {
    for (const system of systems.filter((each) => !(each in outcome.leftOut))) {
      const cells = columns.map(({ figure, title, digits }) => {
        const all = results.of(system, shape, figure);
        const range = `${Math.min(...all).toFixed(digits)}..${Math.max(...all).toFixed(digits)}`;
        return `${title} ${median(all).toFixed(digits)} (${range})`;
      });
      lines.push(`  ${shape.padEnd(22)} ${system.padEnd(28)} ${cells.join('  ')}`);
    }
  }
  for (const must of outcome.musts) lines.push(`  ${VERDICTS[verdictOf(must)]} ${mustLine(must)}`);
  const client = outcome.turns.map(({ cores }) => cores.client ?? 0);
  if (Math.max(...client) > 0) {
    lines.push(`  the load client took ${median(client).toFixed(2)} cores, ${Math.max(...client).toFixed(2)} at most`);
  }
  const others = outcome.turns.map(({ cores }) => cores.others ?? 0);
  lines.push(
    `  other processes took ${median(others).toFixed(2)} cores, ${Math.max(...others).toFixed(2)} at most`,
    '',
  );
  return lines.join('\n');
}
