'use client';
import type { ReactElement } from 'react';
import type { MetricPoint, MetricSeries } from '../../store/index.js';
import { classes, measured, whole } from './format.js';
import { Time } from './time.js';

/** The size of the picture, which is stretched to that of the element. */
const WIDTH = 600;
const HEIGHT = 96;

/** Rows of the table. */
const MAX_ROWS = 100;

export interface MetricChartProps {
  readonly series: MetricSeries;
  /** What of time is shown, in milliseconds since 1970: all of it by default. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly unit?: string | undefined;
  readonly className?: string | undefined;
}

/** One metric over time, its latest value as text, and all of it as a table. */
export function MetricChart({ series, from, to, unit, className }: MetricChartProps): ReactElement {
  const { name, points, thinned } = series;
  const shown = points.filter(
    ({ at, value }) => Number.isFinite(value) && at >= (from ?? 0) && at <= (to ?? Number.POSITIVE_INFINITY),
  );
  const last = shown.at(-1);
  const values = shown.map(({ value }) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const text = (value: number) => (unit === undefined ? measured(value) : `${measured(value)} ${unit}`);
  return (
    <figure className={classes('rc-chart', className)} data-state={shown.length === 0 ? 'empty' : 'filled'}>
      <figcaption className="rc-chart__caption">
        <span className="rc-chart__name">{name}</span>
        <span className="rc-chart__last">{last === undefined ? '–' : text(last.value)}</span>
      </figcaption>
      <svg
        className="rc-chart__picture"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        aria-hidden="true"
        focusable="false"
      >
        <path className="rc-chart__area" d={areaOf(shown, low, high, from, to)} />
        <path
          className="rc-chart__line"
          d={lineOf(shown, low, high, from, to)}
          fill="none"
          vectorEffect="non-scaling-stroke"
        />
      </svg>
      {shown.length > 0 && (
        <p className="rc-chart__range">
          {text(low)} – {text(high)} · {whole(points.length)} values{thinned && ', the older ones thinned'}
        </p>
      )}
      <details className="rc-chart__table">
        <summary>Table</summary>
        <table>
          <thead>
            <tr>
              <th scope="col">Time</th>
              <th scope="col">{name}</th>
            </tr>
          </thead>
          <tbody>
            {shown
              .slice(-MAX_ROWS)
              .toReversed()
              .map(({ at, value }, index) => (
                <tr key={`${at} ${index}`}>
                  <td>
                    <Time at={at} />
                  </td>
                  <td>{text(value)}</td>
                </tr>
              ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}

function lineOf(points: readonly MetricPoint[], low: number, high: number, from?: number, to?: number): string {
  const begin = from ?? points[0]?.at ?? 0;
  const span = Math.max(1, (to ?? points.at(-1)?.at ?? 1) - begin);
  const size = high - low || 1;
  const places = points.map(({ at, value }) => {
    const x = ((at - begin) / span) * WIDTH;
    const y = HEIGHT - 4 - ((value - low) / size) * (HEIGHT - 8);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return places.length === 0 ? '' : `M${places.join('L')}`;
}

function areaOf(points: readonly MetricPoint[], low: number, high: number, from?: number, to?: number): string {
  const line = lineOf(points, low, high, from, to);
  if (line === '') return '';
  const [first, last] = [
    line.slice(1).split(' ')[0],
    line
      .slice(line.lastIndexOf('L') + 1)
      .replace('M', '')
      .split(' ')[0],
  ];
  return `${line}L${last} ${HEIGHT}L${first} ${HEIGHT}Z`;
}
