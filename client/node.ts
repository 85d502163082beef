import { createRequire } from 'node:module';
import {
  type Client,
  type ClientOptions,
  createClient as create,
  type PollingClient,
  type PollingClientOptions,
} from './client.js';
import type { WebSocketConstructor } from './ground/platform.js';
import type { AnyStreams, StreamTypes } from './subscription/streams.js';

export * from './index.js';

type WsOptions = import('ws').ClientOptions & { closeTimeout: number };

/** `closeTimeout`: how long the other side may take to answer the closing handshake, in milliseconds. */
const OPTIONS: WsOptions = { closeTimeout: 2_000 };

const nodeWebSocket = webSocketOfWs() ?? globalThis.WebSocket;

/**
 * That of `ws` where it is installed, on every release of Node: once closed it ends within the timeout. Node's own keeps the
 * process alive for as long as TCP takes to find that the other side is gone.
 */
function webSocketOfWs(): WebSocketConstructor | undefined {
  let WebSocket: typeof import('ws').WebSocket;
  try {
    // An import that may fail would have to be awaited, and then CommonJS could not require this module.
    // Bundled into CommonJS it has no `import.meta.url`.
    const require = createRequire(import.meta.url ?? `${process.cwd()}/`);
    ({ WebSocket } = require('ws') as typeof import('ws'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
    return undefined;
  }
  class ClosingWebSocket extends WebSocket {
    constructor(url: string, protocols?: string | string[]) {
      super(url, protocols, OPTIONS);
    }
  }
  return ClosingWebSocket as unknown as WebSocketConstructor;
}

/** As in the browser, over a WebSocket for Node. Throws `TypeError` where there is none and the transports do not leave it out. */
export function createClient<S extends StreamTypes<S> = AnyStreams>(options: PollingClientOptions): PollingClient<S>;
export function createClient<S extends StreamTypes<S> = AnyStreams>(options: ClientOptions): Client<S>;
export function createClient(options: ClientOptions): Client {
  const { WebSocket = nodeWebSocket, transports = ['websocket'] } = options;
  if (WebSocket !== undefined) return create({ ...options, WebSocket });
  if (!transports.includes('websocket')) return create(options);
  throw new TypeError(`Node.js ${process.versions.node} has no WebSocket: npm install ws`);
}
