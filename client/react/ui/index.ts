'use client';
export { AgentBadge, type AgentBadgeProps } from './agents.js';
export { type Announce, Announcer, type AnnouncerProps, useAnnounce, type Verbosity } from './announcer.js';
export {
  type Check,
  CompletenessScore,
  type CompletenessScoreProps,
  PreflightChecklist,
  type PreflightChecklistProps,
} from './checklist.js';
export {
  ConnectionStatus,
  type ConnectionStatusProps,
  TransportSwitch,
  type TransportSwitchProps,
} from './connection-status.js';
export { ExecutionControls, type ExecutionControlsProps } from './controls.js';
export { ErrorDisplay, type ErrorDisplayProps } from './errors.js';
export {
  ExecutionDashboard,
  type ExecutionDashboardProps,
  type ExecutionPart,
} from './execution-dashboard.js';
export type { ExecutionTab, ExecutionView } from './execution-view.js';
export { HealthGauge, type HealthGaugeProps } from './health.js';
export { LatencyPanel, type LatencyPanelProps } from './latency-panel.js';
export { LogFilters, type LogFiltersProps } from './log-filters.js';
export { LogView, type LogViewProps } from './log-view.js';
export { MetricChart, type MetricChartProps } from './metric-chart.js';
export { PollingPanel, type PollingPanelProps } from './polling-panel.js';
export { ExecutionProgress, type ExecutionProgressProps, ProgressBar, type ProgressBarProps } from './progress.js';
export { ProofStrip, type ProofStripProps } from './proof.js';
export { QuietFor, type QuietForProps } from './quiet.js';
export { Scrubber, type ScrubberMark, type ScrubberProps } from './scrubber.js';
export { type Stage, StageIndicator, type StageIndicatorProps, stagesOf } from './stages.js';
export { StatusBadge, type StatusBadgeProps } from './status.js';
export { StepsTable, type StepsTableProps } from './steps-table.js';
export { Time, type TimeFormat, TimeFormatContext, type TimeProps } from './time.js';
export { AgentTimeline, type AgentTimelineProps, type TimeRange } from './timeline.js';
