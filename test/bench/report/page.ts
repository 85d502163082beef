/** docs/performance.md and its charts, from the figures of a run. */
import { median, Results } from '../harness/figures.js';
import type { Outcome } from '../harness/run.js';
import { chartOf } from './chart.js';
import type { Report } from './report.js';
import { short, type Verdict, verdictOf } from './text.js';

const VERDICTS: Readonly<Record<Verdict, string>> = { aim: 'aim', floor: 'floor', missed: '**no**' };

export function table(rows: readonly (readonly string[])[]): string {
  const [heading = [], ...body] = rows;
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(heading), line(heading.map(() => '---')), ...body.map(line)].join('\n');
}

function mustsTable({ quick, scenarios }: Report): string {
  const rows = scenarios.flatMap(({ name, musts }) =>
    musts.map((must) => {
      const word = must.better === 'more' ? '≥' : '≤';
      const bounds = [must.floor, must.aim].map((bound) => `${word} ${short(bound)}`);
      const found = quick ? ['', ''] : [short(must.value), VERDICTS[verdictOf(must)]];
      return [`[${name}](#${anchor(name)})`, must.figure, ...bounds, ...found];
    }),
  );
  return table([['', 'Figure', 'Floor', 'Aim', 'Measured', 'Reached'], ...rows]);
}

const anchor = (name: string) => name.toLowerCase();

function figuresTable({ columns, shapes, turns, leftOut }: Outcome): string {
  const results = new Results(turns);
  const rows = shapes.flatMap(({ name, systems }) =>
    systems
      .filter((system) => !(system in leftOut))
      .map((system) => {
        const cells = columns.map(({ figure, digits }) => {
          const values = results.of(system, name, figure).filter((value) => Number.isFinite(value));
          if (values.length === 0) return '';
          const shown = (value: number) => value.toLocaleString('en', { maximumFractionDigits: digits });
          const [least, greatest] = [shown(Math.min(...values)), shown(Math.max(...values))];
          return least === greatest ? shown(median(values)) : `${shown(median(values))} (${least} to ${greatest})`;
        });
        return [name, system, ...cells];
      }),
  );
  return table([['', '', ...columns.map(({ title }) => title)], ...rows]);
}

function section(outcome: Outcome): string {
  const { name, title, about, rounds, turns, leftOut } = outcome;
  const cores = (part: string) => turns.map((turn) => turn.cores[part] ?? 0);
  const [client, others] = [cores('client'), cores('others')];
  const most = (values: readonly number[]) => Math.max(0, ...values).toFixed(2);
  const notes = [
    `Medians of ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, with their range.`,
    Math.max(0, ...client) > 0
      ? `The load client took ${median(client).toFixed(2)} cores, ${most(client)} at most.`
      : 'The clients are in the process of the harness.',
    `Other processes of the machine took ${median(others).toFixed(2)} cores, ${most(others)} at most.`,
    ...Object.entries(leftOut).map(([system, why]) => `${system} was left out: ${why}.`),
  ];
  return `## ${name}

**${title}.** ${about.replaceAll('\n', ' ')}

![${title}](performance/${anchor(name)}.svg)

${figuresTable(outcome)}

${notes.join(' ')}`;
}

export const QUICK_WARNING = `
> **These are not measurements.** They come from \`npm run bench -- --quick\`: one short round with few connections, which shows that
> the scenarios run. The figures say nothing about the performance of any of the systems.
`;

function page(report: Report): string {
  const { machine, quick, scenarios } = report;
  const { at, commit, cores, processor, memoryGb, system, node, load } = machine;
  return `# Performance

<!-- Generated from docs/performance.json by \`npm run docs\`. Do not edit. -->
${quick ? QUICK_WARNING : ''}
Rowcast beside other systems: all take turns in the same run, on the same PostgreSQL. \`npm run bench\` repeats it on your machine;
\`npm run bench -- B1 B4\` runs some of it. For what it means for your numbers, see [scaling](operations/scaling.md).

| | |
| --- | --- |
| Machine | ${cores} cores, ${processor}, ${memoryGb} GB, ${system} |
| Versions | Rowcast ${commit}, Node.js ${node}, the embedded PostgreSQL with default settings, except that no checkpoint falls into a turn |
| Date | ${at.slice(0, 10)} |

Gateway or peer, PostgreSQL, writers and load client share the cores of this one machine, so rates are lower than on several. CPU time
is read from \`/proc\` and holds better than a rate: for that reason most comparisons are per CPU-second of the server.

**Is the load client the bottleneck?** It is one process with one thread, written in ${load}, that counts a byte for each row and reads only
a sample of the connections in full. Each section says how many cores it took: while that is well below 1, it was not.

**How the others get their rows.** A trigger sends each row by NOTIFY, and a process that listens passes it on. Such a system loses
rows while that process is not connected, has no positions, and cannot say who may read what: it is compared by its speed alone.
Limits of Rowcast that would throttle a single address are lifted, except where the text says otherwise.

## What must hold

${mustsTable(report)}

${scenarios.map(section).join('\n\n')}
`;
}

/** The files, by their path from docs/. */
export function performancePages(report: Report): Map<string, string> {
  const charts = report.scenarios.map(
    (outcome) => [`performance/${anchor(outcome.name)}.svg`, chartOf(outcome)] as const,
  );
  return new Map([['performance.md', page(report)], ...charts]);
}
