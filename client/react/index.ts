'use client';
export { type UseChannelOptions, useChannel, useChannelEvent, useFold, useLog } from './channel.js';
export { useLatency, useNow, usePolling, useWebSocketConnection } from './connection.js';
export {
  type ExecutionStanding,
  useAgentExecutionStatus,
  useExecutionControls,
  useExecutions,
  useProgressTracking,
  useReplay,
} from './execution.js';
export { RowcastProvider, type RowcastProviderProps, useRowcast } from './provider.js';
