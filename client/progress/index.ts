/** Computes the progress of an execution from its events. Pure: the gateway and all clients get the same result from the same events. */
export { type Health, type HealthReason, type HealthWord, healthOf } from './health.js';
export type { Remaining } from './pace.js';
export {
  advance,
  begin,
  type ProgressError,
  type ProgressEvent,
  type ProgressState,
  STATE_VERSION,
} from './state.js';
export { type ExecutionStatus, type FinalStatus, following, isFinished, mayFollow, STATUSES } from './statuses.js';
export { type Progress, type StepRecord, stepsOf, viewOf } from './view.js';
