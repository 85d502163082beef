/** A chart of one figure: a bar for each system in each shape, from the median, with the range of the rounds. */
import { median, Results } from '../harness/figures.js';
import type { Outcome } from '../harness/run.js';
import { short } from './text.js';

const WIDTH = 760;
const LABEL = 240;
const VALUE = 130;
const ROW = 22;
const BAR = 14;
const HEADING = 30;
const SPACE = WIDTH - LABEL - VALUE;

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .shape { font-weight: 600; }
  .bar { fill: #8c959f; }
  .own { fill: #1f6feb; }
  .range { stroke: #24292f; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .bar { fill: #6e7681; }
    .own { fill: #4c8dff; }
    .range { stroke: #e6edf3; }
  }`;

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

export function chartOf({ title, columns, chart, shapes, turns, leftOut }: Outcome): string {
  const results = new Results(turns);
  const heading = columns.find(({ figure }) => figure === chart)?.title ?? chart;
  const groups = shapes.map(({ name, systems }) => ({
    name,
    bars: systems
      .filter((system) => !(system in leftOut))
      .map((system) => ({ system, values: results.of(system, name, chart) }))
      .filter(({ values }) => values.length > 0 && values.every(Number.isFinite)),
  }));
  const shown = groups.filter(({ bars }) => bars.length > 0);
  const most = Math.max(...shown.flatMap(({ bars }) => bars.flatMap(({ values }) => values)), Number.MIN_VALUE);
  const x = (value: number) => Number((LABEL + (value / most) * SPACE).toFixed(1));
  const parts: string[] = [];
  let y = HEADING;
  for (const { name, bars } of shown) {
    parts.push(`<text class="shape" x="0" y="${y + 16}">${escaped(name)}</text>`);
    y += ROW;
    for (const { system, values } of bars) {
      const middle = y + ROW / 2;
      const [value, least, greatest] = [median(values), Math.min(...values), Math.max(...values)];
      const own = system.startsWith('Rowcast') ? 'bar own' : 'bar';
      parts.push(
        `<text x="12" y="${middle + 5}">${escaped(system)}</text>`,
        `<rect class="${own}" x="${LABEL}" y="${middle - BAR / 2}" width="${(x(value) - LABEL).toFixed(1)}" height="${BAR}"/>`,
        `<line class="range" x1="${x(least)}" x2="${x(greatest)}" y1="${middle}" y2="${middle}"/>`,
        `<text x="${x(Math.max(value, greatest)) + 8}" y="${middle + 5}">${short(value)}</text>`,
      );
      y += ROW;
    }
    y += 8;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" role="img" aria-label="${escaped(title)}: ${escaped(heading)}">
<style>${STYLE}
</style>
<text x="0" y="14">${escaped(heading)}</text>
${parts.join('\n')}
</svg>
`;
}
