import { WebSocket } from 'ws';
import {
  type Client,
  type ClientOptions,
  createClient as create,
  type PollingClient,
  type PollingClientOptions,
} from './client.js';
import type { WebSocketConstructor } from './transport/websocket.js';

export * from './index.js';

/** `closeTimeout`: how long the other side may take to answer the closing handshake, in milliseconds. */
const OPTIONS: WebSocket.ClientOptions & { closeTimeout: number } = { closeTimeout: 2_000 };

/** Where the other side is gone that of `ws` would live on for half a minute, and the process with it. */
class ClosingWebSocket extends WebSocket {
  constructor(url: string, protocols?: string | string[]) {
    super(url, protocols, OPTIONS);
  }
}

/** As in the browser; Node 20 has no WebSocket of its own, so that of `ws` is the default. */
export function createClient(options: PollingClientOptions): PollingClient;
export function createClient(options: ClientOptions): Client;
export function createClient(options: ClientOptions): Client {
  return create({ WebSocket: ClosingWebSocket as unknown as WebSocketConstructor, ...options });
}
