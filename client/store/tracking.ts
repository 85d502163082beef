import type { Health, Progress, StepRecord } from '../progress/index.js';

/** What a page shows of one execution. Times are milliseconds since 1970, from the `created_at` of the rows. */
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

/** One agent: all steps with its name. */
export interface AgentView {
  readonly name: string;
  /**
   * `running`: it has a step that runs. `error`: its last step failed. `complete`: the execution has ended, or has left the
   * stage of its last step. Else `idle`.
   */
  readonly state: 'idle' | 'running' | 'complete' | 'error';
  /** The step that runs, else the last one. */
  readonly step: StepRecord | null;
  readonly runningSince: number | null;
  readonly done: number;
  readonly failed: number;
  readonly quiet: Quiet;
}

/** How long nothing was written is a measurement, and no verdict. */
export interface Quiet {
  /** When the last event was written. */
  readonly lastAt: number | null;
  /** The usual time between two events, in milliseconds, of the latest; null while there are too few. */
  readonly usual: { readonly p50: number; readonly p90: number } | null;
}

export interface MetricSeries {
  readonly name: string;
  /** In order of time. */
  readonly points: readonly MetricPoint[];
  /** Points were left out to keep within the bound: the older ones are thinned evenly. */
  readonly thinned: boolean;
}

export interface MetricPoint {
  readonly at: number;
  readonly value: number;
}
