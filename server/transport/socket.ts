/**
 * The transport of one WebSocket: the send buffer and its backpressure, the rate limit of what the client sends, and the
 * heartbeat. The gateway stops reading from the socket while the send buffer is full, because replies need room in it,
 * and while the client exceeds its rate: TCP then makes the client wait, which costs the gateway nothing. Until the client is
 * known, no more than one frame is read from it.
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

/** Maximum size of the WebSocket header of a frame from a client, in bytes. */
const CLIENT_FRAME_HEADER = 14;

/** How long a client that is not known may take to answer the close frame, in milliseconds. */
export const LEAVE_TIMEOUT = 1_000;

export interface SocketLimits {
  readonly sendBufferBytes: number;
  /** What a client may send before it is known. */
  readonly maxFrameBytes: number;
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
  /** Bytes that are still read from a client that is not known; null when it is. */
  #allowance: number | null;
  /** Heartbeats without a sign of life. */
  #missed = 0;
  onDrained: () => void = () => {};
  /** The client has sent more than one frame, and is not known. Reading is paused. */
  onExcess: () => void = () => {};

  /** `raw` is the TCP or TLS socket below: only there all input can be counted, including empty fragments and pongs. */
  constructor(socket: WebSocket, raw: Duplex, { sendBufferBytes, maxFrameBytes, frames, bytes }: SocketLimits) {
    this.socket = socket;
    this.#allowance = maxFrameBytes + CLIENT_FRAME_HEADER;
    this.#bufferBytes = sendBufferBytes;
    this.#frames = new Bucket(frames);
    this.#bytes = new Bucket(bytes);
    raw.on('data', (chunk: Buffer) => {
      this.#spend(0, chunk.length);
      this.#use(chunk.length);
    });
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
    // A large row is shared by all its readers. Compressed, it would be a copy for each.
    const options = { binary: false, compress: bytes <= this.#bufferBytes };
    // Only a frame that fills the buffer needs the callback, which restarts sending after the drain.
    if (this.socket.bufferedAmount + bytes < this.#bufferBytes) {
      this.socket.send(text, options);
      return;
    }
    this.socket.send(text, options, () => this.#flushed());
    if (this.#stalled || this.writable) return;
    this.#stalled = true;
    this.socket.pause();
  }

  close(code: number, reason: string): void {
    // Resume, because the client's close frame must be read.
    clearTimeout(this.#throttled);
    this.#throttled = undefined;
    this.#stalled = false;
    if (this.#allowance !== null) {
      const late = setTimeout(() => this.socket.terminate(), LEAVE_TIMEOUT);
      this.socket.once('close', () => clearTimeout(late));
    }
    if (this.#allowance === null || this.#allowance >= 0) this.socket.resume();
    this.socket.close(
      code,
      Buffer.from(reason)
        .subarray(0, MAX_REASON)
        .toString()
        .replace(/\uFFFD+$/, ''),
    );
  }

  /** The client is known: it may send as much as the rates allow. */
  known(): void {
    this.#allowance = null;
    this.#read();
  }

  /** The client has sent a message or a pong. */
  alive(): void {
    this.#missed = 0;
  }

  /** Called once per heartbeat. While reading is paused a missing pong proves nothing; TCP detects a dead peer then. */
  beat(): void {
    if (this.socket.isPaused) return;
    if (this.#missed >= 2) {
      this.socket.terminate();
      return;
    }
    this.#missed += 1;
    this.socket.ping(undefined, false, () => this.#flushed());
  }

  #use(bytes: number): void {
    if (this.#allowance === null) return;
    this.#allowance -= bytes;
    if (this.#allowance >= 0) return;
    this.socket.pause();
    this.onExcess();
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
    if (this.#allowance !== null && this.#allowance < 0) return;
    this.#missed = 0;
    this.socket.resume();
  }
}
