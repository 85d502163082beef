export { type Client, type ClientOptions, createClient } from './client.js';
export { RowcastError } from './error.js';
export type { SessionState } from './session.js';
export type { Reset, StreamEvent, SubscribeOptions, Subscription, SubscriptionState } from './subscription.js';
export type { WebSocketConstructor } from './transport/websocket.js';
