import type { Duplex } from 'node:stream';
import type { Frame } from '@rowcast/client/protocol';
import type { WebSocket } from 'ws';
import { Bucket, type Rate } from '../limits/bucket.js';
import { type Transport, textOf } from '../ports/door.js';

/** A close frame has room for so many bytes of reason. */
const MAX_REASON = 123;

/** The most bytes that a WebSocket puts before a frame of the server. */
const FRAME_HEADER = 10;

export interface SocketLimits {
  readonly sendBufferBytes: number;
  /** What the client may send. */
  readonly frames: Rate;
  readonly bytes: Rate;
}

/**
 * One socket. Nothing is read from it while its send buffer is full, because answers need room as well, and while
 * the client has sent more than it may: what it sends then waits with it, and costs the gateway nothing.
 */
export class SocketTransport implements Transport {
  readonly socket: WebSocket;
  readonly #bufferBytes: number;
  readonly #frames: Bucket;
  readonly #bytes: Bucket;
  #stalled = false;
  #held: NodeJS.Timeout | undefined;
  #missed = 0;
  onDrained: () => void = () => {};

  /** `raw` carries the socket: only there all that comes in can be counted, empty fragments and pongs too. */
  constructor(socket: WebSocket, raw: Duplex, { sendBufferBytes, frames, bytes }: SocketLimits) {
    this.socket = socket;
    this.#bufferBytes = sendBufferBytes;
    this.#frames = new Bucket(frames);
    this.#bytes = new Bucket(bytes);
    raw.on('data', (chunk: Buffer) => this.#spend(0, chunk.length));
    socket.on('message', () => this.#spend(1, 0));
    socket.on('ping', (data) => {
      this.#spend(1, 0);
      // A client that pings and does not read gets no pongs: they would pile up.
      if (this.writable) socket.pong(data, false, () => this.#flushed());
    });
    socket.on('error', () => {}); // a close event follows
    socket.on('close', () => clearTimeout(this.#held));
  }

  get writable(): boolean {
    return this.socket.bufferedAmount < this.#bufferBytes;
  }

  send(frame: Frame | Buffer): void {
    const text = textOf(frame);
    const bytes = Buffer.byteLength(text) + FRAME_HEADER;
    // Whatever fills the buffer must also say when it has drained, or nobody would send again.
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
    // The client's answer to the close frame has to be read.
    clearTimeout(this.#held);
    this.#held = undefined;
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

  heard(): void {
    this.#missed = 0;
  }

  /** Once per heartbeat. A client that does not read, or is not read from, is no dead one: TCP itself ends it if it is. */
  beat(): void {
    if (this.#stalled || this.#held !== undefined) return;
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
    if (this.#held !== undefined) return;
    if (debt === 0) return this.#read();
    this.#held = setTimeout(() => {
      this.#held = undefined;
      this.#spend(0, 0); // what had been read already has been counted meanwhile
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
    if (this.#stalled || this.#held !== undefined || !this.socket.isPaused) return;
    this.#missed = 0;
    this.socket.resume();
  }
}
