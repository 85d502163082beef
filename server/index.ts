export {
  type ExecutionStatus,
  type FinalStatus,
  following,
  isFinished,
  mayFollow,
  type Progress,
} from '@rowcast/client/progress';
export { AgentError, type AgentFunction, type AgentTask } from './engine/attempt.js';
export type { Bell, Carrier, Consumer, ReadyTask, Workplace } from './engine/carrier.js';
export { openCarrier } from './engine/carriers/open.js';
export { Engine, type EngineOptions, type Started } from './engine/engine.js';
export { PlanInvalid } from './engine/graph.js';
export { Outbox, type OutboxOptions } from './engine/outbox.js';
export type { ItemInput, PlanInput, PlannedTask, RuleInput, TaskInput } from './engine/plan.js';
export { DEFAULT_RULES, type Propagated, type Propagation, propagate, type RuleOutcome } from './engine/propagate.js';
export type { Review } from './engine/review.js';
export { type Agent, AgentWorker, type WorkerOptions } from './engine/worker.js';
export type { WrittenExecution } from './executions/rules/execution-rows.js';
export type { Appended, Recorded } from './executions/rules/execution-writes.js';
export { Executions } from './executions/rules/executions.js';
export type { Answered } from './executions/rules/idempotency.js';
export type { ExecutionChange, NewExecution, NewLog, NewMetric } from './executions/rules/inputs.js';
export { isTransient, type RetryOptions, type RetryPolicy, retrying } from './executions/rules/retrying.js';
export {
  AgentExecutionService,
  type Run,
  type RunOptions,
  type ServiceOptions,
} from './executions/service/agent-execution-service.js';
export {
  type PastEvent,
  ProgressTracker,
  type RunningStep,
  type StepOptions,
  type TrackerOptions,
} from './executions/service/progress-tracker.js';
export {
  type Broadcast,
  type BroadcastEvent,
  type BroadcasterOptions,
  type BroadcastOptions,
  StatusBroadcaster,
} from './executions/service/status-broadcaster.js';
export type { Unwritten } from './executions/service/write-queue.js';
export { type Gateway, type GatewayOptions, type LocalGateway, startGateway } from './gateway.js';
export { type Logger, makeLogger } from './ground/logger.js';
export { Refusal, Unavailable } from './ground/refusal.js';
export type { Database, Sql } from './ports/database.js';
export type { Principal } from './ports/principal.js';
export { type ConnectedDatabase, connectDatabase } from './postgres/connect-database.js';
export { type InstalledExtension, installedExtensions } from './postgres/extensions.js';
export { OutdatedInstallation } from './postgres/installation.js';
export { type MigrateOptions, MigrationChanged, migrate } from './postgres/migrate.js';
export { type UninstallOptions, uninstall } from './postgres/uninstall.js';
export { type Config, ConfigError, readConfig } from './settings/config.js';
