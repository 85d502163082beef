export {
  type Client,
  type ClientOptions,
  createClient,
  type PollingClient,
  type PollingClientOptions,
} from './client.js';
export { RowcastError } from './ground/error.js';
export type { ExecutionState, StateOf } from './polling/channels.js';
export type { PollingOptions, PollingStats } from './polling/settings.js';
export type { Warning } from './polling/statistics.js';
export type { SessionState } from './session/connection.js';
export type { Transport } from './session/open.js';
export type {
  Reset,
  StreamEvent,
  SubscribeOptions,
  Subscription,
  SubscriptionState,
} from './subscription/subscription.js';
export type { WebSocketConstructor } from './transport/websocket.js';
