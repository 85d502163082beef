export type { SessionState } from './carrier.js';
export {
  type Client,
  type ClientOptions,
  createClient,
  type PollingClient,
  type PollingClientOptions,
} from './client.js';
export type { Transport } from './direct.js';
export { RowcastError } from './error.js';
export type { ExecutionState, StateOf } from './polling/channels.js';
export type { PollingOptions, PollingStats } from './polling/settings.js';
export type { Warning } from './polling/statistics.js';
export type { Reset, StreamEvent, SubscribeOptions, Subscription, SubscriptionState } from './subscription.js';
export type { WebSocketConstructor } from './transport/websocket.js';
