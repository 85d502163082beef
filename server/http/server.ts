import { createServer, type RequestListener, type Server } from 'node:http';
import type { Socket } from 'node:net';

/** How often connections that never send a request are looked for, in milliseconds. */
const CHECK_INTERVAL = 1_000;

/** Connections that have not become WebSockets; with more, the oldest is ended. Requests are answered far sooner. */
const MAX_PLAIN = 2_048;

/**
 * An HTTP server that bounds what a connection costs before it is admitted. `patience`: for a whole request, its headers
 * included, in milliseconds.
 */
export function makeServer(app: RequestListener, patience: number): Server {
  const options = {
    requestTimeout: patience,
    connectionsCheckingInterval: Math.min(CHECK_INTERVAL, patience),
  };
  const server = createServer(options, app);
  const plain = new Set<Socket>();
  server.on('connection', (socket) => {
    plain.add(socket);
    socket.once('close', () => plain.delete(socket));
    const [oldest] = plain;
    if (plain.size > MAX_PLAIN && oldest !== undefined) {
      plain.delete(oldest);
      oldest.destroy();
    }
  });
  server.on('upgrade', ({ socket }) => plain.delete(socket));
  return server;
}
