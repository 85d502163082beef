/**
 * The HTTP server of the gateway. It bounds what a connection costs before it is admitted as a client (time, headers, idle
 * connections), refuses malformed requests with an error of the table, and stops gracefully: requests that it has
 * received are answered, new ones are refused. It owns all sockets until a response is `admitted` or a socket is upgraded.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import type { Express } from 'express';
import { bareAnswer, Refusal } from '../ground/refusal.js';
import { Bucket } from '../limits/bucket.js';
import { messagesOf } from './messages.js';
import { PlainSockets } from './plain-sockets.js';

/** Interval at which connections without a complete request are closed, in milliseconds. */
const CHECK_INTERVAL = 1_000;

/**
 * How long an idle connection stays open, in milliseconds. Longer than in proxies (a minute, as a rule): otherwise a proxy would
 * send a request on a connection that the gateway is closing.
 */
const KEEP_ALIVE = 65_000;

/** Maximum size of the request headers, in bytes. The URL or Last-Event-ID of a request may name many channels. */
const MAX_HEADERS = 32 * 1024;

/** Maximum number of headers; browsers and proxies send about thirty. Node would drop the rest silently, including those that a proxy appends. */
const MAX_HEADER_COUNT = 100;

/** Maximum number of requests on a connection without a response. A packet holds more than a thousand. */
const MAX_PIPELINED = 128;

/** How long a client may take to read the response to a malformed or unfinished request, in milliseconds. */
const LEAVE_TIMEOUT = 1_000;

/**
 * A body that is refused is read all the same, because many clients look at the response only after they have sent it: up to one
 * chunk always, more at this rate in bytes, of all clients together. One that is longer, or of unknown length, stays unread. Reading
 * a body costs more than refusing it.
 */
const DISCARDED_ALWAYS = 64 * 1024;
const DISCARDED = { perSecond: 1024 * 1024, burst: 2 * 1024 * 1024 };

export interface HttpServer {
  readonly server: Server;
  /** Refuses new requests, and waits up to `timeout` milliseconds for the responses of earlier ones, which may have taken effect. */
  stop(timeout: number): Promise<void>;
}

/** `requestTimeout`: how long a client may take to send a request with its headers and body, in milliseconds. */
export function makeServer(app: Express, requestTimeout: number): HttpServer {
  const messages = messagesOf(app);
  const options = {
    ...messages,
    maxHeaderSize: MAX_HEADERS,
    keepAliveTimeout: KEEP_ALIVE,
    requestTimeout,
    connectionsCheckingInterval: Math.min(CHECK_INTERVAL, requestTimeout),
  };
  const discarded = new Bucket(DISCARDED);
  const isDiscarded = ({ headers }: IncomingMessage) => {
    const bytes = Number(headers['content-length'] ?? Number.POSITIVE_INFINITY);
    return bytes <= DISCARDED_ALWAYS || (bytes <= DISCARDED.burst && discarded.take(performance.now(), bytes) === 0);
  };
  let stopping = false;
  const server = createServer(options, (request, response) => {
    const { socket } = request;
    const due = unanswered.get(socket);
    if (due === undefined || !due.has(response)) return;
    // A pipelined request is dropped: the connection closes after the last response that is still due.
    if (stopping) return void (due.size === 1 && refuse(socket, STOPPING));
    const handle = () => {
      if (hasTooManyHeaders(request)) refuse(socket, TOO_LARGE);
      else if (isAmbiguous(request)) refuse(socket, MALFORMED);
      else app(request, response);
    };
    if (due.size === 1) handle();
    else inTurn(socket, handle);
  });
  server.maxHeadersCount = MAX_HEADER_COUNT + 1;
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => refuse(socket, answerTo(error)));
  const plain = new PlainSockets((socket) => [...(unanswered.get(socket) ?? [])].some(({ req }) => req.complete));
  const open = new Set<ServerResponse>();
  server.on('connection', (socket) => {
    plain.add(socket);
    socket.on('close', () => plain.delete(socket)); // `on` where it comes once: `once` would make four objects for each client
  });
  server.prependListener('request', (request, response) => {
    const { socket } = request;
    if ((unanswered.get(socket)?.size ?? 0) > MAX_PIPELINED) socket.destroy();
    if (socket.destroyed) return;
    open.add(response);
    endWithSocket(socket, response);
    response.on('finish', () => request.complete || outlive(request, isDiscarded(request)));
    // Admitted as a client, it is not counted until the response has ended.
    response.on('admitted', () => plain.delete(socket));
    response.on('close', () => {
      open.delete(response);
      unanswered.get(socket)?.delete(response);
      if (!socket.destroyed) plain.add(socket);
    });
  });
  server.on('upgrade', (request, socket, head) => {
    if (request.headers.upgrade?.toLowerCase() !== 'websocket')
      return answer(server, new messages.ServerResponse(request));
    if (hasTooManyHeaders(request)) return refuse(request.socket, TOO_LARGE);
    if (isAmbiguous(request)) return refuse(request.socket, MALFORMED);
    plain.delete(request.socket);
    server.emit('websocket', request, socket, head);
  });
  const stop = async (timeout: number) => {
    stopping = true;
    // Not `close` of http, which treats a connection as idle while the end of a response is being sent.
    NetServer.prototype.close.call(server);
    for (const socket of plain.sockets) if (!unanswered.get(socket)?.size) socket.destroy();
    // The last response of each connection carries `Connection: close`, so that no further request is sent on it.
    for (const last of new Map([...open].map((response) => [response.req.socket, response])).values()) {
      last.shouldKeepAlive = false;
    }
    const answered = [...open].map(
      (response) => new Promise<void>((resolve) => response.once('close', () => resolve())),
    );
    // By their sockets: the server has given up those with an Upgrade header, and `closeAllConnections` misses them.
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

/** Whether a proxy could take the request for another host or length: several Host headers, or HTTP/0.9. */
function isAmbiguous({ rawHeaders, httpVersionMajor }: IncomingMessage): boolean {
  const hosts = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host');
  return hosts.length > 1 || httpVersionMajor < 1;
}

const TOO_LARGE = bareAnswer(
  '431 Request Header Fields Too Large',
  new Refusal(
    'frame_too_large',
    `a request may have at most ${MAX_HEADER_COUNT} headers of ${MAX_HEADERS} bytes in total`,
  ),
);
const LATE = bareAnswer('408 Request Timeout', new Refusal('connect_timeout', 'the request did not arrive in time'));
const STOPPING = bareAnswer('503 Service Unavailable', new Refusal('shutting_down'));
const MALFORMED = bareAnswer('400 Bad Request', new Refusal('invalid_frame', 'the request cannot be read'));

/** The response to input that Node could not parse. */
function answerTo({ code }: NodeJS.ErrnoException): string {
  if (code === 'HPE_HEADER_OVERFLOW') return TOO_LARGE;
  return code === 'ERR_HTTP_REQUEST_TIMEOUT' ? LATE : MALFORMED;
}

/** Sends a response, and reads on for a while: closing a socket with unread input resets it, and the client would lose the response. */
function refuse(socket: Socket, answer: string): void {
  if (socket.writableEnded) return; // refused already, and the client sends more
  const begun = [...(unanswered.get(socket) ?? [])].some(({ headersSent }) => headersSent);
  if (begun || outlived.has(socket) || !socket.writable) return void socket.destroy();
  socket.on('error', () => {});
  socket.end(answer);
  const late = setTimeout(() => socket.destroy(), LEAVE_TIMEOUT);
  socket.once('close', () => clearTimeout(late));
  socket.once('end', () => socket.destroy());
}

/** Sockets whose request got a response before its body had arrived. */
const outlived = new WeakSet<Socket>();

/** Discards the rest of a request that has its response already, or leaves it unread, for a while and without a second response. */
function outlive(request: IncomingMessage, isDiscarded: boolean): void {
  const { socket } = request;
  outlived.add(socket);
  if (isDiscarded) request.resume();
  // Node resumes it at the end of this turn. The request may have ended in it: the next one is to be read then.
  else setImmediate(() => request.complete || socket.pause());
  const late = setTimeout(() => socket.destroy(), LEAVE_TIMEOUT);
  request.once('close', () => {
    clearTimeout(late);
    outlived.delete(socket);
  });
}

/** The responses that are due on each socket; several if requests are pipelined. */
const unanswered = new WeakMap<Socket, Set<ServerResponse>>();

/** What is to be done with the pipelined requests of each socket. */
const pipelined = new WeakMap<Socket, (() => void)[]>();

/** Handles one pipelined request in each turn of the event loop: those of a whole packet at once would hold up all other clients. */
function inTurn(socket: Socket, handle: () => void): void {
  const queue = pipelined.get(socket) ?? [];
  pipelined.set(socket, queue);
  if (queue.push(handle) > 1) return;
  const next = () => {
    if (socket.destroyed) return;
    queue[0]?.();
    queue.shift();
    if (queue.length > 0) setImmediate(next);
  };
  setImmediate(next);
}

/** Closes the queued responses of pipelined requests with their socket. Node emits `close` only for the current one. */
function endWithSocket(socket: Socket, response: ServerResponse): void {
  const responses = unanswered.get(socket) ?? new Set();
  if (!unanswered.has(socket)) {
    unanswered.set(socket, responses);
    socket.on('close', () => {
      for (const queued of responses) {
        if (queued.socket !== null) continue;
        queued.destroyed = true;
        queued.emit('close');
      }
    });
  }
  responses.add(response);
}

/** Ignores an Upgrade header for anything but WebSocket: clients that offer HTTP/2 continue with HTTP/1.1. */
function answer(server: Server, response: ServerResponse): void {
  const { req: request } = response;
  const { socket } = request;
  response.shouldKeepAlive = false; // Node has detached its parser from this connection
  response.assignSocket(socket);
  response.once('finish', () => {
    socket.end();
    const late = setTimeout(() => socket.destroy(), LEAVE_TIMEOUT);
    socket.once('close', () => clearTimeout(late));
  });
  socket.on('error', () => {});
  // Nothing else reads the socket, and without reading its end is not noticed.
  socket.resume();
  socket.once('end', () => socket.destroy());
  server.emit('request', request, response);
}
