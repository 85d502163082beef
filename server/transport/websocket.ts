import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Connection } from '../connection/connection.js';
import type { Transport } from '../ports.js';

/** A close frame has room for so many bytes of reason. */
const MAX_REASON = 123;

/** The most bytes that a WebSocket puts before a frame of the server. */
const FRAME_HEADER = 10;

/** A frame of more than this times the limit is not even read: it ends the connection with code 1009. */
const HARD_LIMIT = 16;

export interface WebSocketOptions {
  readonly path: string;
  readonly maxFrameBytes: number;
  readonly maxConnections: number;
  readonly sendBufferBytes: number;
  /** In milliseconds. */
  readonly heartbeat: number;
  /** Whether a page of that origin may connect; undefined where it is no page that asks. */
  readonly admitOrigin: (origin: string | undefined) => boolean;
  readonly connect: (id: string, transport: Transport) => Connection;
}

/** One socket. While its send buffer is full nothing is read from it either: answers need room as well. */
class SocketTransport implements Transport {
  readonly socket: WebSocket;
  readonly #bufferBytes: number;
  #stalled = false;
  #missed = 0;
  onDrained: () => void = () => {};

  constructor(socket: WebSocket, bufferBytes: number) {
    this.socket = socket;
    this.#bufferBytes = bufferBytes;
  }

  get writable(): boolean {
    return this.socket.bufferedAmount < this.#bufferBytes;
  }

  send(frame: string | Buffer): void {
    const bytes = Buffer.byteLength(frame) + FRAME_HEADER;
    // Whatever fills the buffer must also say when it has drained, or nobody would send again.
    if (this.socket.bufferedAmount + bytes < this.#bufferBytes) {
      this.socket.send(frame, { binary: false });
      return;
    }
    this.socket.send(frame, { binary: false }, () => this.#flushed());
    if (this.#stalled || this.writable) return;
    this.#stalled = true;
    this.socket.pause();
  }

  close(code: number, reason: string): void {
    this.socket.resume();
    this.socket.close(
      code,
      Buffer.from(reason)
        .subarray(0, MAX_REASON)
        .toString()
        .replace(/\uFFFD+$/, ''),
    );
  }

  heard(): void {
    this.#missed = 0;
  }

  /** Once per heartbeat. A client that does not read is slow, not dead: TCP itself ends it if it is. */
  beat(): void {
    if (this.#stalled) return;
    if (this.#missed >= 2) {
      this.socket.terminate();
      return;
    }
    this.#missed += 1;
    this.socket.ping();
  }

  #flushed(): void {
    if (!this.writable) return;
    if (this.#stalled) {
      this.#stalled = false;
      this.#missed = 0;
      this.socket.resume();
    }
    this.onDrained();
  }
}

/** Takes WebSockets at one path of an HTTP server. */
export class WebSocketDoor {
  readonly #options: WebSocketOptions;
  readonly #sockets: WebSocketServer;
  readonly #open = new Map<SocketTransport, Connection>();
  readonly #beat: NodeJS.Timeout;
  #stopping = false;

  constructor(server: Server, options: WebSocketOptions) {
    this.#options = options;
    this.#sockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: HARD_LIMIT * options.maxFrameBytes,
    });
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#beat = setInterval(() => {
      for (const transport of this.#open.keys()) transport.beat();
    }, options.heartbeat);
  }

  /** Tells every client to come back elsewhere, and waits until they are gone, at most `timeout` milliseconds. */
  async stop(timeout: number): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#beat);
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
    const status = this.#refusal(request);
    if (status !== null) {
      socket.on('error', () => {}); // it may be reset before it has read why
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => this.#accept(webSocket));
  }

  #refusal({ url, headers }: IncomingMessage): string | null {
    if (this.#stopping) return '503 Service Unavailable';
    if (url?.split('?')[0] !== this.#options.path) return '404 Not Found';
    return this.#options.admitOrigin(headers.origin) ? null : '403 Forbidden';
  }

  #accept(socket: WebSocket): void {
    const { sendBufferBytes, maxFrameBytes, maxConnections, connect } = this.#options;
    const transport = new SocketTransport(socket, sendBufferBytes);
    const connection = connect(randomUUID(), transport);
    this.#open.set(transport, connection);
    transport.onDrained = () => connection.drained();
    socket.on('pong', () => transport.heard());
    socket.on('message', (data: Buffer) => {
      transport.heard();
      if (data.length > maxFrameBytes) connection.tooLarge();
      else void connection.receive(data.toString());
    });
    socket.on('error', () => {}); // a close event follows
    socket.on('close', () => {
      this.#open.delete(transport);
      connection.gone();
    });
    if (this.#stopping) connection.close('shutting_down');
    else if (this.#open.size > maxConnections) connection.close('too_many_connections');
  }
}
