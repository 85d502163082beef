import { begin, type ProgressState } from '../progress/index.js';
import { parsePosition } from '../protocol/index.js';
import { Api, type ApiOptions } from './api.js';
import { type MetricsState, withPoint } from './metrics.js';
import { NO_RHYTHM } from './rhythm.js';
import type { TrackingState } from './tracking.js';

/** An execution at a position, as plain data: a server can read it, and send it to the page as JSON. */
export interface ExecutionSnapshot {
  readonly position: string;
  readonly state: TrackingState;
  /** When it was read, in milliseconds since 1970. */
  readonly at: number;
}

/** The version of the progress that this module can go on from. */
const VERSION = 1;

/** How many points of metrics are read. */
const POINTS = 1_000;

/** Reads an execution, for the first picture of a page: on a server, for example. Rejects with `RowcastError`. */
export async function readExecution(options: ApiOptions, id: string): Promise<ExecutionSnapshot | null> {
  return readSnapshot(new Api(options), id);
}

/** Null if the gateway gives no progress that this version can go on from. */
export async function readSnapshot(api: Api, id: string, signal?: AbortSignal): Promise<ExecutionSnapshot | null> {
  const path = `/executions/${encodeURIComponent(id)}`;
  const { position, state, metrics } = Object(await api.get(`${path}?logs=none&state=1`, signal)) as Answer;
  const { version, progress } = Object(state) as { version?: unknown; progress?: unknown };
  if (version !== VERSION || typeof position !== 'string' || !isProgress(progress)) return null;
  const latest = Array.isArray(metrics) ? metrics : [];
  const more = latest.some((metric: Metric) => Number(metric.count) > 1);
  // Read later than the progress: the metrics of events after `position` may be among them already.
  const all = more ? (Object(await api.get(`${path}/metrics?limit=${POINTS}`, signal)) as Answer) : null;
  const points = Array.isArray(all?.metrics) ? [...all.metrics].reverse() : latest;
  const upTo = parsePosition(String(all?.position ?? position))?.seq ?? progress.seq;
  return {
    position,
    at: Date.now(),
    state: {
      progress,
      metrics: points.reduce(withMetric, { series: {}, upTo }),
      rhythm: { ...NO_RHYTHM, lastAt: progress.at },
      rhythms: {},
    },
  };
}

interface Answer {
  readonly position?: unknown;
  readonly state?: unknown;
  readonly metrics?: unknown;
}

interface Metric {
  readonly metric_name?: unknown;
  readonly metric_value?: unknown;
  readonly recorded_at?: unknown;
  readonly count?: unknown;
}

function withMetric(state: MetricsState, metric: Metric): MetricsState {
  const at = Date.parse(String(metric.recorded_at));
  return withPoint(state, String(metric.metric_name), { at, value: Number(metric.metric_value) });
}

/** It has all that a state has; what is in it is the gateway's word, as the rows are. */
function isProgress(value: unknown): value is ProgressState {
  return Object.keys(begin()).every((name) => Object.hasOwn(Object(value), name));
}
