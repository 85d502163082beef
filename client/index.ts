export {
  type Client,
  type ClientOptions,
  createClient,
  type PollingClient,
  type PollingClientOptions,
} from './client.js';
export { RowcastError } from './ground/error.js';
export type { AbortSignalLike, WebSocketConstructor } from './ground/platform.js';
export type { StateOf } from './polling/pacing.js';
export type { PollingOptions, PollingStats } from './polling/settings.js';
export type { Warning } from './polling/statistics.js';
export type { ExecutionState } from './progress/activity.js';
export type { SessionState, StateListener } from './session/connection.js';
export type { Transport } from './session/open.js';
export type { AnyStreams, StreamTypes } from './subscription/streams.js';
export type {
  Reset,
  StreamEvent,
  SubscribeOptions,
  Subscription,
  SubscriptionState,
} from './subscription/subscription.js';
