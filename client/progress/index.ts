/** Events of an execution in, its progress out. Pure: the gateway and every client get the same from the same events. */
export { type Health, type HealthReason, type HealthWord, healthOf } from './health.js';
export type { Remaining } from './pace.js';
export {
  advance,
  begin,
  type ProgressError,
  type ProgressEvent,
  type ProgressState,
} from './state.js';
export { type ExecutionStatus, type FinalStatus, following, isFinished, mayFollow, STATUSES } from './statuses.js';
export { type Progress, type StepRecord, stepsOf, viewOf } from './view.js';
