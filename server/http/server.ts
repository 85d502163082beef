import { createServer, type IncomingMessage, type RequestListener, type Server, ServerResponse } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import { bareAnswer, Refusal } from '../ground/refusal.js';

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

/** Browsers and proxies send thirty. Of more than it takes Node leaves out the last, and with them what a proxy may have said. */
const MAX_HEADER_COUNT = 100;

/** How long whoever sent no proper request, or sends on after the answer, may take to read it; in milliseconds. */
const LEAVE_TIMEOUT = 1_000;

export interface HttpServer {
  readonly server: Server;
  /** Answers what was asked already, which may have been done already, and nothing else; for so many milliseconds at most. */
  stop(timeout: number): Promise<void>;
}

/**
 * An HTTP server that bounds what a connection costs before it is admitted. `patience`: for a whole request, its headers
 * included, in milliseconds.
 */
export function makeServer(app: RequestListener, patience: number): HttpServer {
  const options = {
    maxHeaderSize: MAX_HEADERS,
    keepAliveTimeout: KEEP_ALIVE,
    requestTimeout: patience,
    connectionsCheckingInterval: Math.min(CHECK_INTERVAL, patience),
  };
  let stopping = false;
  const server = createServer(options, (request, response) => {
    if (hasTooManyHeaders(request)) refuse(request.socket, TOO_LARGE);
    else if (!stopping) app(request, response);
    // Behind others it goes with the connection, which ends after the last answer that was promised.
    else if (unanswered.get(request.socket)?.size === 1) refuse(request.socket, STOPPING);
  });
  server.maxHeadersCount = MAX_HEADER_COUNT + 1;
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => refuse(socket, answerTo(error)));
  const plain = new Set<Socket>();
  const open = new Set<ServerResponse>();
  server.on('connection', (socket) => {
    plain.add(socket);
    socket.once('close', () => plain.delete(socket));
    const [oldest] = plain;
    if (plain.size > MAX_PLAIN && oldest !== undefined) {
      plain.delete(oldest);
      oldest.destroy();
    }
  });
  server.prependListener('request', (request, response) => {
    const { socket } = request;
    open.add(response);
    endWithSocket(socket, response);
    response.once('finish', () => request.complete || outlive(request));
    // Admitted as a connection: it may last. Afterwards its socket is as plain as before.
    response.once('admitted', () => plain.delete(socket));
    response.once('close', () => {
      open.delete(response);
      if (!socket.destroyed) plain.add(socket);
    });
  });
  server.on('upgrade', (request, socket, head) => {
    if (request.headers.upgrade?.toLowerCase() !== 'websocket') return answer(server, request);
    if (hasTooManyHeaders(request)) return refuse(request.socket, TOO_LARGE);
    plain.delete(request.socket);
    server.emit('websocket', request, socket, head);
  });
  const stop = async (timeout: number) => {
    stopping = true;
    // Not that of http: it takes a connection for idle while the end of an answer is on its way.
    NetServer.prototype.close.call(server);
    for (const socket of plain) if (!unanswered.get(socket)?.size) socket.destroy();
    // The last of each connection: whoever hears that asks nothing more on it.
    for (const last of new Map([...open].map((response) => [response.req.socket, response])).values()) {
      last.shouldKeepAlive = false;
    }
    const answered = [...open].map(
      (response) => new Promise<void>((resolve) => response.once('close', () => resolve())),
    );
    // Each by its socket: of one that was to be upgraded the server knows nothing more.
    const late = setTimeout(() => {
      for (const { req } of open) req.socket.destroy();
    }, timeout);
    await Promise.all(answered);
    clearTimeout(late);
    server.closeAllConnections();
  };
  return { server, stop };
}

function hasTooManyHeaders({ rawHeaders }: IncomingMessage): boolean {
  return rawHeaders.length > 2 * MAX_HEADER_COUNT;
}

const TOO_LARGE = bareAnswer(
  '431 Request Header Fields Too Large',
  new Refusal('frame_too_large', `a request has at most ${MAX_HEADER_COUNT} headers, and ${MAX_HEADERS} bytes of them`),
);
const LATE = bareAnswer('408 Request Timeout', new Refusal('connect_timeout', 'the request did not come in time'));
const STOPPING = bareAnswer('503 Service Unavailable', new Refusal('shutting_down'));
const MALFORMED = bareAnswer('400 Bad Request', new Refusal('invalid_frame', 'the request cannot be read'));

/** To something that Node could not take for a request. */
function answerTo({ code }: NodeJS.ErrnoException): string {
  if (code === 'HPE_HEADER_OVERFLOW') return TOO_LARGE;
  return code === 'ERR_HTTP_REQUEST_TIMEOUT' ? LATE : MALFORMED;
}

/** What it still sends is read for a while: a socket that is closed before would take the answer with it. */
function refuse(socket: Socket, answer: string): void {
  if (socket.writableEnded) return; // it goes on with what cannot be read
  const begun = [...(unanswered.get(socket) ?? [])].some(({ headersSent }) => headersSent);
  if (begun || outlived.has(socket) || !socket.writable) return void socket.destroy();
  socket.on('error', () => {});
  socket.end(answer);
  const late = setTimeout(() => socket.destroy(), LEAVE_TIMEOUT);
  socket.once('close', () => clearTimeout(late));
  socket.once('end', () => socket.destroy());
}

const outlived = new WeakSet<Socket>();

/** A request was answered before all of it had come: its rest is thrown away for a while, and gets no second answer. */
function outlive(request: IncomingMessage): void {
  const { socket } = request;
  outlived.add(socket);
  request.resume();
  const late = setTimeout(() => socket.destroy(), LEAVE_TIMEOUT);
  request.once('close', () => {
    clearTimeout(late);
    outlived.delete(socket);
  });
}

const unanswered = new WeakMap<Socket, Set<ServerResponse>>();

/** A request may be sent before those in front of it are answered. Node tells only the one whose turn it is that its socket has closed. */
function endWithSocket(socket: Socket, response: ServerResponse): void {
  const responses = unanswered.get(socket) ?? new Set();
  if (!unanswered.has(socket)) {
    unanswered.set(socket, responses);
    socket.once('close', () => {
      for (const queued of responses) {
        if (queued.socket !== null) continue;
        queued.destroyed = true;
        queued.emit('close');
      }
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
  response.once('finish', () => {
    socket.end();
    const late = setTimeout(() => socket.destroy(), LEAVE_TIMEOUT);
    socket.once('close', () => clearTimeout(late));
  });
  socket.on('error', () => {});
  // Nobody else reads it any more: without that its end would not be seen.
  socket.resume();
  socket.once('end', () => socket.destroy());
  server.emit('request', request, response);
}
