import { createServer, type IncomingMessage, type RequestListener, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** How often connections that never send a request are looked for, in milliseconds. */
const CHECK_INTERVAL = 1_000;

/** Connections that have not become clients; with more, the oldest is ended. Requests are answered far sooner. */
const MAX_PLAIN = 2_048;

/**
 * Longer than what a proxy in front keeps an idle connection for (a minute, as a rule): it would send a request into one
 * that is being closed. In milliseconds.
 */
const KEEP_ALIVE = 65_000;

/** A request for many channels names them all, in its address or in Last-Event-ID; in bytes. */
const MAX_HEADERS = 32 * 1024;

/**
 * An HTTP server that bounds what a connection costs before it is admitted. `patience`: for a whole request, its headers
 * included, in milliseconds.
 */
export function makeServer(app: RequestListener, patience: number): Server {
  const options = {
    maxHeaderSize: MAX_HEADERS,
    keepAliveTimeout: KEEP_ALIVE,
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
  server.prependListener('request', ({ socket }, response) => {
    endWithSocket(socket, response);
    // Admitted as a connection: it may last. Afterwards its socket is as plain as before.
    response.once('admitted', () => plain.delete(socket));
    response.once('close', () => {
      if (!socket.destroyed) plain.add(socket);
    });
  });
  server.on('upgrade', (request, socket, head) => {
    if (request.headers.upgrade?.toLowerCase() !== 'websocket') return answer(server, request);
    plain.delete(request.socket);
    server.emit('websocket', request, socket, head);
  });
  return server;
}

const unanswered = new WeakMap<Socket, Set<ServerResponse>>();

/** A request may be sent before those in front of it are answered. Node tells only the one whose turn it is that its socket has closed. */
function endWithSocket(socket: Socket, response: ServerResponse): void {
  const responses = unanswered.get(socket) ?? new Set();
  if (!unanswered.has(socket)) {
    unanswered.set(socket, responses);
    socket.once('close', () => {
      for (const queued of responses) if (queued.socket === null) queued.emit('close');
    });
  }
  responses.add(response);
  response.once('close', () => responses.delete(response));
}

/** An upgrade may be declined: HTTP/2, which some clients offer with their first request, goes on as HTTP/1.1. */
function answer(server: Server, request: IncomingMessage): void {
  const { socket } = request;
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false; // Node has given up the parser of this connection
  response.assignSocket(socket);
  response.once('finish', () => socket.end());
  socket.on('error', () => {});
  // Nobody else reads it any more: without that its end would not be seen.
  socket.resume();
  socket.once('end', () => socket.destroy());
  server.emit('request', request, response);
}
