import { randomUUID } from 'node:crypto';
import { codeOfClose, type ErrorCode, type Frame, isErrorCode, PROTOCOL } from '@rowcast/client/protocol';
import type { Connection } from '../connection/connection.js';
import { Refusal } from '../ground/refusal.js';
import { type InProcess, type InProcessSubscription, type Transport, textOf } from '../ports/door.js';
import type { Principal } from '../ports/principal.js';

interface Parcel {
  readonly bytes: number;
  readonly hand: () => Promise<void> | void;
}

/** A connection that goes nowhere: its frames are handed over in this process, one after the other. */
class InProcessTransport implements Transport {
  readonly #bufferBytes: number;
  readonly #subscription: InProcessSubscription;
  #waiting: Parcel[] = [];
  #bytes = 0;
  #handing = false;
  /** Why a command was refused. */
  refused: Refusal | null = null;
  onDrained: () => void = () => {};

  constructor(bufferBytes: number, subscription: InProcessSubscription) {
    this.#bufferBytes = bufferBytes;
    this.#subscription = subscription;
  }

  get writable(): boolean {
    return this.#bytes < this.#bufferBytes;
  }

  send(frame: Frame | Buffer): void {
    if (!Buffer.isBuffer(frame) && frame.type === 'connected') return;
    if (!Buffer.isBuffer(frame) && frame.type === 'error') {
      this.refused ??= new Refusal(isErrorCode(frame.code) ? frame.code : 'internal', frame.message, frame.retryAfter);
      return;
    }
    const read = () => (Buffer.isBuffer(frame) ? (JSON.parse(frame.toString()) as Frame) : frame);
    this.#queue(Buffer.byteLength(textOf(frame)), () => this.#subscription.onFrame(read()));
  }

  close(code: number): void {
    const reason: ErrorCode = codeOfClose(code) ?? 'internal';
    this.#queue(0, () => this.#subscription.onEnd(reason));
  }

  /** Nothing more is handed over, not even what waits. */
  leave(): void {
    this.#waiting = [];
  }

  #queue(bytes: number, hand: () => Promise<void> | void): void {
    this.#waiting.push({ bytes, hand });
    this.#bytes += bytes;
    if (!this.#handing) void this.#handOver();
  }

  async #handOver(): Promise<void> {
    this.#handing = true;
    // In a later turn: whoever subscribes has the answer before the first event.
    await new Promise((resolve) => setImmediate(resolve));
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      await next.hand();
      const stood = !this.writable;
      this.#bytes -= next.bytes;
      if (stood && this.writable) this.onDrained();
    }
    this.#handing = false;
  }
}

export interface InProcessDoorOptions {
  readonly sendBufferBytes: number;
  readonly connect: (id: string, transport: Transport, principal: Principal) => Connection;
}

/** Takes subscriptions of this process: each is a connection of its own, so that a slow one holds up nobody else. */
export class InProcessDoor implements InProcess {
  readonly #options: InProcessDoorOptions;
  readonly #open = new Set<Connection>();

  constructor(options: InProcessDoorOptions) {
    this.#options = options;
  }

  get connections(): number {
    return this.#open.size;
  }

  async subscribe(subscription: InProcessSubscription): Promise<() => void> {
    const { sendBufferBytes, connect } = this.#options;
    const { principal, channel, since } = subscription;
    const leave = () => {
      this.#open.delete(connection);
      connection.gone();
      transport.leave();
    };
    const onEnd = (code: string) => {
      leave();
      subscription.onEnd(code);
    };
    const onFrame = (frame: Frame) => (frame.type === 'unsubscribed' ? onEnd(frame.code) : subscription.onFrame(frame));
    const transport: InProcessTransport = new InProcessTransport(sendBufferBytes, { ...subscription, onFrame, onEnd });
    const connection: Connection = connect(randomUUID(), transport, principal);
    transport.onDrained = () => connection.drained();
    this.#open.add(connection);
    await connection.take({ type: 'connect', id: 0, protocol: PROTOCOL });
    await connection.take({ type: 'subscribe', id: 1, channel, since });
    if (transport.refused === null) return leave;
    leave();
    throw transport.refused;
  }

  stop(): void {
    for (const connection of [...this.#open]) connection.close('shutting_down');
  }
}
