/**
 * What a page shows of one execution, as a pure fold of the events of its log: the progress of `client/progress`, and beside
 * it the metrics and the rhythm of the events. The state is plain data, so that a server can send it and replay can keep it.
 */
import {
  advance,
  begin,
  type Health,
  healthOf,
  type Progress,
  type ProgressState,
  type StepRecord,
  stepsOf,
  viewOf,
} from '../progress/index.js';
import { type AgentView, agentsOf } from './agents.js';
import { type MetricSeries, type MetricsState, metricAfter, seriesOf } from './metrics.js';
import { NO_RHYTHM, type Quiet, quietOf, type Rhythm, rhythmAfter } from './rhythm.js';
import { own, shared } from './shared.js';

/** Times are milliseconds since 1970, from the `created_at` of the rows. */
export interface Tracking {
  readonly progress: Progress;
  /** In the order in which they began: at most the latest 1,000. */
  readonly steps: readonly StepRecord[];
  /** In the order in which their first steps began. */
  readonly agents: readonly AgentView[];
  readonly health: Health;
  readonly metrics: readonly MetricSeries[];
  readonly quiet: Quiet;
}

export interface TrackingState {
  readonly progress: ProgressState;
  readonly metrics: MetricsState;
  readonly rhythm: Rhythm;
  /** By agent: at most 100. */
  readonly rhythms: Readonly<Record<string, Rhythm>>;
}

const MAX_AGENTS = 100;

export const BEGIN: TrackingState = {
  progress: begin(),
  metrics: { series: {}, upTo: 0 },
  rhythm: NO_RHYTHM,
  rhythms: {},
};

interface TrackedEvent {
  readonly seq: number;
  readonly row: Readonly<Record<string, unknown>>;
}

export function track(state: TrackingState, event: TrackedEvent): TrackingState {
  if (event.seq <= state.progress.seq) return state;
  const progress = advance(state.progress, event);
  const { at } = progress;
  return {
    progress,
    metrics: metricAfter(state.metrics, event, at),
    rhythm: rhythmAfter(state.rhythm, at),
    rhythms: agentRhythms(state.rhythms, event, at),
  };
}

function agentRhythms(known: TrackingState['rhythms'], { row }: TrackedEvent, at: number | null) {
  const { agent } = (row.context ?? {}) as { agent?: unknown };
  if (typeof agent !== 'string' || agent === '') return known;
  const before = own(known, agent) ?? NO_RHYTHM;
  if (before === NO_RHYTHM && Object.keys(known).length >= MAX_AGENTS) return known;
  return { ...known, [agent]: rhythmAfter(before, at) };
}

/** What is shown of a state at a time. What is equal to what was shown before is the same object. */
export function trackingOf(state: TrackingState, now: number, before?: Tracking): Tracking {
  const progress = viewOf(state.progress, now);
  const steps = shared(before?.steps, stepsOf(state.progress));
  const next = {
    progress,
    steps,
    agents: agentsOf(steps, progress, state.rhythms),
    health: healthOf(state.progress, now),
    metrics: seriesOf(state.metrics),
    quiet: quietOf(state.rhythm, progress.updatedAt),
  };
  return shared(before, next);
}
