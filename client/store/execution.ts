import type { ProgressState } from '../progress/index.js';
import type { ControlsStore } from './controls.js';
import type { Live, Store } from './live.js';
import type { ReplayStore } from './replay.js';
import type { MetricSeries, Tracking } from './tracking.js';

/** One execution, joined from a snapshot and followed from its position. */
export interface ExecutionStore extends Store<Live<Tracking>> {
  readonly id: string;
  readonly controls: ControlsStore;
  readonly replay: ReplayStore;
  /** Resolves when there is data; rejects with what it failed for. */
  ready(): Promise<void>;
}

/** An execution at a position, as plain data: what a server reads and hands to the page. */
export interface ExecutionSnapshot {
  readonly position: string;
  readonly progress: ProgressState;
  readonly metrics: readonly MetricSeries[];
  /** When it was read, in milliseconds since 1970. */
  readonly at: number;
}

/** What a server has read for the first picture of a page, by the id of the execution. It can be sent as JSON. */
export interface Initial {
  readonly executions?: Readonly<Record<string, ExecutionSnapshot>> | undefined;
}
