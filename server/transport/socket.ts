/**
 * The transport of one WebSocket: how its messages are written, the send buffer and its backpressure, the rate limit of what the client sends, and the
 * heartbeat. The gateway stops reading from the socket while the send buffer is full, because replies need room in it,
 * and while the client exceeds its rate: TCP then makes the client wait, which costs the gateway nothing. Until the client is
 * known, no more than one frame is read from it.
 */
import type { Duplex } from 'node:stream';
import type { Frame } from '@rowcast/client/protocol';
import { WebSocket } from 'ws';
import { nothing } from '../ground/nothing.js';
import { textMessage } from '../ground/text-message.js';
import { Bucket, type Rate } from '../limits/bucket.js';
import { type Transport, textOf } from '../ports/door.js';
import { EventsFrame } from '../ports/events-frame.js';

/** Maximum length of the reason in a close frame (RFC 6455), in bytes. */
const MAX_REASON = 123;

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
  readonly #raw: Duplex;
  /** Whether the client has negotiated permessage-deflate. */
  readonly #compressed: boolean;
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
  onDrained: () => void = nothing;
  /** The client has sent more than one frame, and is not known. Reading is paused. */
  onExcess: () => void = nothing;

  /** `raw` is the TCP or TLS socket below: only there all input can be counted, including empty fragments and pongs. */
  constructor(socket: WebSocket, raw: Duplex, { sendBufferBytes, maxFrameBytes, frames, bytes }: SocketLimits) {
    this.socket = socket;
    this.#raw = raw;
    this.#compressed = socket.extensions !== '';
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
      // A client that sends pings but does not read, or sends too many, gets no pongs, which would accumulate in memory.
      if (this.writable && this.#throttled === undefined) socket.pong(data, false, () => this.#flushed());
    });
    socket.on('error', nothing); // a close event follows
    socket.on('close', () => clearTimeout(this.#throttled));
  }

  /** False after a close frame: nothing more is sent, so that pages must not be loaded for it. */
  get writable(): boolean {
    return this.socket.readyState === WebSocket.OPEN && this.#buffered < this.#bufferBytes;
  }

  send(frame: Frame | EventsFrame): void {
    if (this.socket.readyState !== WebSocket.OPEN) return; // nothing may follow a close frame
    const message = frame instanceof EventsFrame ? frame.message : textMessage(JSON.stringify(frame)).message;
    if (this.#buffered + message.length < this.#bufferBytes) return this.#write(frame, message);
    // Only a message that fills the buffer needs the callback, which restarts sending after the drain.
    this.#write(frame, message, () => this.#flushed());
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

  get #buffered(): number {
    return this.#compressed ? this.socket.bufferedAmount : this.#raw.writableLength;
  }

  /**
   * A message is written to the raw socket: `ws` would make a header for every reader, and write it separately. It is in order with
   * the pings, pongs and the close frame of `ws`, which writes them there at once, unless it compresses: then messages wait in a
   * queue of `ws`, and all of them must.
   */
  #write(frame: Frame | EventsFrame, message: Buffer, flushed?: () => void): void {
    if (!this.#compressed) return void this.#raw.write(message, flushed);
    // A large row is shared by all its readers. Compressed, it would be a copy for each.
    const compress = message.length <= this.#bufferBytes;
    this.socket.send(textOf(frame), { binary: false, compress }, flushed);
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
