import { WebSocket } from 'ws';
import { type Client, type ClientOptions, createClient as create } from './client.js';
import type { WebSocketConstructor } from './transport/websocket.js';

export * from './index.js';

/** As in the browser; Node 20 has no WebSocket of its own, so that of `ws` is the default. */
export function createClient(options: ClientOptions): Client {
  return create({ WebSocket: WebSocket as unknown as WebSocketConstructor, ...options });
}
