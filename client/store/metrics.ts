/** The metrics of an execution as series of points, bounded. */
import { own } from './shared.js';

export interface MetricPoint {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly value: number;
}

export interface MetricSeries {
  readonly name: string;
  /** In the order in which they were recorded. */
  readonly points: readonly MetricPoint[];
  /** Points were left out, evenly among the older ones, to keep within the bound. */
  readonly thinned: boolean;
}

export interface MetricsState {
  readonly series: Readonly<Record<string, MetricSeries>>;
  /** The events up to this seq are in the series, from elsewhere. */
  readonly upTo: number;
}

const MAX_SERIES = 50;
const MAX_POINTS = 1_000;

interface MetricEvent {
  readonly seq: number;
  readonly row: Readonly<Record<string, unknown>>;
}

export function metricAfter(state: MetricsState, { seq, row }: MetricEvent, at: number | null): MetricsState {
  if (row.event_type !== 'metrics-update' || seq <= state.upTo || at === null) return state;
  const { metric_name: name, metric_value: value } = (row.context ?? {}) as Record<string, unknown>;
  return typeof name === 'string' ? withPoint(state, name, { at, value: Number(value) }) : state;
}

/** Points that are no number, such as NaN, cannot be drawn. */
export function withPoint(state: MetricsState, name: string, point: MetricPoint): MetricsState {
  const known = own(state.series, name) ?? { name, points: [], thinned: false };
  const room = known.points.length > 0 || Object.keys(state.series).length < MAX_SERIES;
  if (!room || !Number.isFinite(point.value)) return state;
  const full = known.points.length >= MAX_POINTS;
  const kept = full ? known.points.filter((_, index) => index % 2 === 1) : known.points;
  const series = { name, points: [...kept, point], thinned: known.thinned || full };
  return { ...state, series: { ...state.series, [name]: series } };
}

export function seriesOf({ series }: MetricsState): readonly MetricSeries[] {
  return Object.values(series);
}
