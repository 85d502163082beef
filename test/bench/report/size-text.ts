/** Sizes side by side, for a terminal and for docs/operations/scaling.md. */
import { type Costs, type Demand, type Size, sizeOf } from './costs.js';
import type { Report } from './report.js';
import { short } from './text.js';

const ROWS: readonly (readonly [label: string, (size: Size) => number])[] = [
  ['deliveries/s', ({ deliveries }) => deliveries],
  ['MB/s to the clients', ({ network }) => network],
  ['cores of all gateways, each row sent alone', ({ cores }) => cores],
  ['cores of all gateways, ten rows a frame', ({ coresBatched }) => coresBatched],
  ['MB of each gateway', ({ memory }) => memory],
  ['connections to PostgreSQL', ({ databaseConnections }) => databaseConnections],
  ['cores of PostgreSQL for the inserts', ({ inserts }) => inserts],
  ['cores of PostgreSQL for the gateways', ({ reads }) => reads],
  ['s until all are back after a restart of all', ({ reconnect }) => reconnect],
];

export type Demands = Omit<Demand, 'gateways'>;

/** A table: a heading, and a row for each figure, with a cell for each number of gateways. */
export function sizeRows(costs: Costs, demand: Demands, counts: readonly number[]): string[][] {
  const sizes = counts.map((gateways) => sizeOf(costs, { ...demand, gateways }));
  const shown = (value: number) => (Number.isNaN(value) ? 'not measured' : short(value));
  return [
    ['gateways', ...counts.map(String)],
    ...ROWS.map(([label, figure]) => [label, ...sizes.map((size) => shown(figure(size)))]),
  ];
}

export function sizeText({ machine, quick }: Report, costs: Costs, demand: Demands, counts: readonly number[]): string {
  const { events, readers, bytes, connections } = demand;
  const { needed } = sizeOf(costs, { ...demand, gateways: 1 });
  const lines = sizeRows(costs, demand, counts).map(([label = '', ...cells]) =>
    [label.padEnd(46), ...cells.map((cell) => cell.padStart(12))].join(''),
  );
  return `${short(events)} events/s, ${short(readers)} readers of each, ${short(bytes)} bytes, ${short(connections)} connections
Costs: ${machine.processor}, ${machine.at.slice(0, 10)}, Rowcast ${machine.commit}${quick ? ' (a quick run, which measures nothing)' : ''}

${lines.join('\n')}

CPU asks for ${short(needed)} gateway processes of one core, each below 60 %, if every row is sent alone.
docs/operations/scaling.md says what ends first, and which setting helps.
`;
}
