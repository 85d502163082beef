/**
 * The transport of one WebSocket: the send buffer and its backpressure, the rate limit of what the client sends, and the
 * heartbeat. The gateway stops reading from the socket while the send buffer is full, because replies need room in it,
 * and while the client exceeds its rate: TCP then makes the client wait, which costs the gateway nothing.
 */
import type { Duplex } from 'node:stream';
import type { Frame } from '@rowcast/client/protocol';
import type { WebSocket } from 'ws';
import { Bucket, type Rate } from '../limits/bucket.js';
import { type Transport, textOf } from '../ports/door.js';

/** Maximum length of the reason in a close frame (RFC 6455), in bytes. */
const MAX_REASON = 123;

/** Maximum size of the WebSocket header of a frame from the server, in bytes. */
const FRAME_HEADER = 10;

export interface SocketLimits {
  readonly sendBufferBytes: number;
  /** The rates at which the client may send. */
  readonly frames: Rate;
  readonly bytes: Rate;
}

export class SocketTransport implements Transport {
  readonly socket: WebSocket;
  readonly #bufferBytes: number;
  readonly #frames: Bucket;
  readonly #bytes: Bucket;
  /** Reading is paused because the send buffer is full. */
  #stalled = false;
  /** Reading is paused because of the rate limit, until this timer. */
  #throttled: NodeJS.Timeout | undefined;
  /** Heartbeats without a sign of life. */
  #missed = 0;
  onDrained: () => void = () => {};

  /** `raw` is the TCP or TLS socket below: only there all input can be counted, including empty fragments and pongs. */
  constructor(socket: WebSocket, raw: Duplex, { sendBufferBytes, frames, bytes }: SocketLimits) {
    this.socket = socket;
    this.#bufferBytes = sendBufferBytes;
    this.#frames = new Bucket(frames);
    this.#bytes = new Bucket(bytes);
    raw.on('data', (chunk: Buffer) => this.#spend(0, chunk.length));
    socket.on('message', () => this.#spend(1, 0));
    socket.on('ping', (data) => {
      this.#spend(1, 0);
      // A client that sends pings but does not read gets no pongs, which would accumulate in memory.
      if (this.writable) socket.pong(data, false, () => this.#flushed());
    });
    socket.on('error', () => {}); // a close event follows
    socket.on('close', () => clearTimeout(this.#throttled));
  }

  get writable(): boolean {
    return this.socket.bufferedAmount < this.#bufferBytes;
  }

  send(frame: Frame | Buffer): void {
    const text = textOf(frame);
    const bytes = Buffer.byteLength(text) + FRAME_HEADER;
    // Only a frame that fills the buffer needs the callback, which restarts sending after the drain.
    if (this.socket.bufferedAmount + bytes < this.#bufferBytes) {
      this.socket.send(text, { binary: false });
      return;
    }
    this.socket.send(text, { binary: false }, () => this.#flushed());
    if (this.#stalled || this.writable) return;
    this.#stalled = true;
    this.socket.pause();
  }

  close(code: number, reason: string): void {
    // Resume, because the client's close frame must be read.
    clearTimeout(this.#throttled);
    this.#throttled = undefined;
    this.#stalled = false;
    this.socket.resume();
    this.socket.close(
      code,
      Buffer.from(reason)
        .subarray(0, MAX_REASON)
        .toString()
        .replace(/\uFFFD+$/, ''),
    );
  }

  /** The client has sent a message or a pong. */
  alive(): void {
    this.#missed = 0;
  }

  /** Called once per heartbeat. While reading is paused a missing pong proves nothing; TCP detects a dead peer then. */
  beat(): void {
    if (this.#stalled || this.#throttled !== undefined) return;
    if (this.#missed >= 2) {
      this.socket.terminate();
      return;
    }
    this.#missed += 1;
    this.socket.ping(undefined, false, () => this.#flushed());
  }

  #spend(frames: number, bytes: number): void {
    const now = performance.now();
    const debt = Math.max(this.#frames.spend(now, frames), this.#bytes.spend(now, bytes));
    if (this.#throttled !== undefined) return;
    if (debt === 0) return this.#read();
    this.#throttled = setTimeout(() => {
      this.#throttled = undefined;
      this.#spend(0, 0); // data that was already buffered has been counted since
    }, debt);
    this.socket.pause();
  }

  #flushed(): void {
    if (!this.writable) return;
    if (this.#stalled) {
      this.#stalled = false;
      this.#read();
    }
    this.onDrained();
  }

  #read(): void {
    if (this.#stalled || this.#throttled !== undefined || !this.socket.isPaused) return;
    this.#missed = 0;
    this.socket.resume();
  }
}
