/**
 * The door for WebSockets: accepts upgrades at one path, limits them by address, opens a connection for each, and sends
 * heartbeats. A client that is not admitted gets the error and a retry hint as a frame where that is affordable. Clients that
 * have not authenticated yet have a bound of their own, so that they cannot take the places of the others.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { errors, type Frame } from '@rowcast/client/protocol';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Connection } from '../connection/connection.js';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import { bareAnswer, Refusal } from '../ground/refusal.js';
import { type Limiter, LONGEST_WAIT, type Rejection } from '../limits/limiter.js';
import { clientAddress } from '../network/address.js';
import type { RequestOrigin } from '../network/origins.js';
import type { Transport } from '../ports/door.js';
import { LEAVE_TIMEOUT, type SocketLimits, SocketTransport } from './socket.js';

/** A frame above this multiple of the limit is not read to its end: the connection is closed with code 1009. */
const HARD_LIMIT = 16;

/** Maximum number of fragments of a message. The parser handles all that are in a packet at once. */
const MAX_FRAGMENTS = 1_024;

/**
 * Each message is compressed by itself: a context that is kept between messages would cost each connection as much
 * memory as its send buffer. The concurrency limit applies to all connections together; further messages queue.
 */
const DEFLATE = {
  threshold: 1_024,
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
  concurrencyLimit: 4,
};

/** How long a client may take to read what it was sent and to answer the close frame, in milliseconds. */
const CLOSE_TIMEOUT = 5_000;

/** Maximum number of clients that have not authenticated: a share of all places. Beyond it the oldest is disconnected. */
const MAX_UNKNOWN = 2_048;
const MIN_UNKNOWN = 64;
const UNKNOWN_SHARE = 1 / 4;

/** Minimum time between two log lines about rejected clients, in milliseconds. */
const LOG_INTERVAL = 60_000;

export interface WebSocketOptions {
  readonly path: string;
  readonly maxFrameBytes: number;
  readonly maxSubscriptions: number;
  readonly sendBufferBytes: number;
  /** Whether frames are compressed for a client that offers it. */
  readonly compression: boolean;
  /** Frames and bytes that one connection may send per second. */
  readonly frameRate: number;
  readonly byteRate: number;
  /** Connections by address. */
  readonly addresses: Limiter;
  readonly maxConnections: number;
  /** The number of proxies in front of the gateway whose X-Forwarded-For is trusted. */
  readonly trustedProxies: number;
  /** In milliseconds. */
  readonly heartbeat: number;
  /** Returns why the origin of a request is refused, or null. */
  readonly refusalOf: (request: RequestOrigin) => Refusal | null;
  readonly connect: (id: string, transport: Transport, request: IncomingMessage) => Connection;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export class WebSocketDoor {
  readonly #options: WebSocketOptions;
  readonly #limits: SocketLimits;
  readonly #sockets: WebSocketServer;
  /** For rejected clients, which get a retry hint and are closed. */
  readonly #rejecting: WebSocketServer;
  readonly #open = new Map<SocketTransport, Connection>();
  /** Those of clients that have not authenticated, the oldest first. */
  readonly #unknown = new Map<SocketTransport, Connection>();
  readonly #maxUnknown: number;
  readonly #leaving = new Set<WebSocket>();
  #beat: NodeJS.Timeout | undefined;
  #loggedAt = Number.NEGATIVE_INFINITY;
  #stopping = false;

  constructor(server: Server, options: WebSocketOptions) {
    const { maxFrameBytes, maxSubscriptions, sendBufferBytes, frameRate, byteRate, maxConnections } = options;
    this.#options = options;
    this.#maxUnknown = Math.min(MAX_UNKNOWN, Math.max(MIN_UNKNOWN, UNKNOWN_SHARE * maxConnections));
    this.#limits = {
      sendBufferBytes,
      maxFrameBytes,
      // The burst allows a client to leave and subscribe to all its channels at once, and to send a frame of the maximum size.
      frames: { perSecond: frameRate, burst: frameRate + 2 * maxSubscriptions },
      bytes: { perSecond: byteRate, burst: byteRate + HARD_LIMIT * maxFrameBytes },
    };
    const common = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      autoPong: false,
      // A packet holds ten thousand empty frames: one is handled in each turn of the event loop, and only so many fragments of a message.
      allowSynchronousEvents: false,
      maxFragments: MAX_FRAGMENTS,
    };
    const perMessageDeflate = options.compression && DEFLATE;
    const whole = { maxPayload: HARD_LIMIT * maxFrameBytes, closeTimeout: CLOSE_TIMEOUT }; // @types/ws lacks closeTimeout
    this.#sockets = new WebSocketServer({ ...common, perMessageDeflate, ...whole });
    const brief = { maxPayload: maxFrameBytes, closeTimeout: LEAVE_TIMEOUT };
    this.#rejecting = new WebSocketServer({ ...common, ...brief });
    server.on('websocket', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** Starts the heartbeat. */
  start(): void {
    this.#beat = setInterval(() => {
      for (const transport of this.#open.keys()) transport.beat();
    }, this.#options.heartbeat);
  }

  get connections(): number {
    return this.#open.size;
  }

  /** Subscriptions with events that wait until the client reads. */
  get stalled(): number {
    let sum = 0;
    for (const connection of this.#open.values()) sum += connection.stalled;
    return sum;
  }

  /** Closes every connection with `shutting_down`, and waits up to `timeout` milliseconds until they are closed. */
  async stop(timeout: number): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#beat);
    for (const socket of this.#leaving) socket.terminate();
    const closed = [...this.#open].map(([{ socket }, connection]) => {
      const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      connection.close('shutting_down');
      return gone;
    });
    const late = setTimeout(() => {
      for (const { socket } of this.#open.keys()) socket.terminate();
    }, timeout);
    await Promise.all(closed);
    clearTimeout(late);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (socket.destroyed) return;
    const refusal = this.#refusal(request);
    if (refusal !== null) return refuse(socket, ...refusal);
    const { addresses, trustedProxies } = this.#options;
    const address = clientAddress(request, trustedProxies);
    const rejection = addresses.enter(address);
    if (rejection === null) {
      this.#leaveWith(socket, address);
      return this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
        const transport = new SocketTransport(webSocket, socket, this.#limits);
        this.#serve(transport, this.#options.connect(randomUUID(), transport, request));
      });
    }
    this.#log(address, rejection, request);
    // Beyond this rate it is too expensive to accept each client only to send it the reason.
    if (rejection.retryAfter >= LONGEST_WAIT) {
      return refuse(socket, '429 Too Many Requests', new Refusal(rejection.code, undefined, rejection.retryAfter));
    }
    this.#rejecting.handleUpgrade(request, socket, head, (webSocket) => this.#reject(webSocket, socket, rejection));
  }

  /** A method of its own: the listener lives as long as the socket, and would keep all variables of a caller in memory, such as the request. */
  #leaveWith(socket: Duplex, address: string): void {
    socket.on('close', () => this.#options.addresses.leave(address));
  }

  #refusal({ url, headers }: IncomingMessage): [status: string, refusal: Refusal] | null {
    if (this.#stopping) return ['503 Service Unavailable', new Refusal('shutting_down')];
    if (url?.split('?')[0] !== this.#options.path) return ['404 Not Found', new Refusal('not_found')];
    const refusal = this.#options.refusalOf(headers);
    return refusal === null ? null : ['403 Forbidden', refusal];
  }

  #log(address: string, { code }: Rejection, { headers }: IncomingMessage): void {
    this.#options.metrics.turnedAway.inc();
    if (performance.now() - this.#loggedAt < LOG_INTERVAL) return;
    this.#loggedAt = performance.now();
    // Behind a proxy that is not trusted all clients share one address and its limit.
    const unknownProxy = headers['x-forwarded-for'] !== undefined && this.#options.trustedProxies === 0;
    const hint = unknownProxy
      ? { hint: 'if these connections come through your own proxy, set ROWCAST_TRUST_PROXY' }
      : {};
    this.#options.logger.warn({ address, code, ...hint }, 'connections are rejected by the limit of their address');
  }

  /** A browser cannot read the response to a refused upgrade: the client is accepted, and gets the reason as a frame. */
  #reject(webSocket: WebSocket, socket: Duplex, { code, retryAfter }: Rejection): void {
    this.#leaving.add(webSocket);
    webSocket.on('close', () => this.#leaving.delete(webSocket));
    const transport = new SocketTransport(webSocket, socket, this.#limits);
    const { meaning, close } = errors[code];
    const frame: Frame = { type: 'error', code, message: meaning, retryAfter: Math.ceil(retryAfter) };
    transport.send(frame);
    transport.close(close, meaning);
  }

  #serve(transport: SocketTransport, connection: Connection): void {
    const { socket: webSocket } = transport;
    this.#open.set(transport, connection);
    this.#addUnknown(transport, connection);
    transport.onDrained = () => connection.drained();
    transport.onExcess = () => {
      if (connection.connecting) return;
      connection.tooLarge();
      connection.close('frame_too_large');
    };
    webSocket.on('pong', () => transport.alive());
    webSocket.on('message', async (data: Buffer, isBinary: boolean) => {
      transport.alive();
      if (isBinary) return connection.binary();
      if (data.length > this.#options.maxFrameBytes) return connection.tooLarge();
      await connection.receive(data.toString());
      if (connection.subject !== null && this.#unknown.delete(transport)) transport.known();
    });
    webSocket.on('close', () => {
      this.#open.delete(transport);
      this.#unknown.delete(transport);
      connection.gone();
    });
  }

  /** The oldest goes that is not being authenticated; this one if all others are. */
  #addUnknown(transport: SocketTransport, connection: Connection): void {
    this.#unknown.set(transport, connection);
    if (this.#unknown.size <= this.#maxUnknown) return;
    for (const [{ socket }, { connecting }] of this.#unknown) {
      if (connecting) continue;
      this.#options.metrics.turnedAway.inc();
      return socket.terminate();
    }
  }
}

function refuse(socket: Duplex, status: string, refusal: Refusal): void {
  socket.on('error', () => {}); // the client may reset the socket before it reads the response
  socket.end(bareAnswer(status, refusal), () => socket.destroy());
}
