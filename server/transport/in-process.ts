/**
 * Subscriptions of code in this process, as connections without a socket. Frames are passed to the subscriber one after
 * the other, and those that wait count against the send buffer, so that a slow subscriber gets backpressure like any client.
 */
import { randomUUID } from 'node:crypto';
import { codeOfClose, type ErrorCode, type Frame, isErrorCode, PROTOCOL } from '@rowcast/client/protocol';
import type { Connection } from '../connection/connection.js';
import type { Logger } from '../ground/logger.js';
import { Refusal } from '../ground/refusal.js';
import { type InProcess, type InProcessSubscription, type Transport, textOf } from '../ports/door.js';
import { EventsFrame } from '../ports/events-frame.js';
import type { Principal } from '../ports/principal.js';

interface QueuedFrame {
  readonly bytes: number;
  readonly deliver: () => Promise<void> | void;
}

class InProcessTransport implements Transport {
  readonly #bufferBytes: number;
  readonly #subscription: InProcessSubscription;
  #waiting: QueuedFrame[] = [];
  #bytes = 0;
  #delivering = false;
  /** The first command that was refused. */
  refused: Refusal | null = null;
  onDrained: () => void = () => {};

  constructor(bufferBytes: number, subscription: InProcessSubscription) {
    this.#bufferBytes = bufferBytes;
    this.#subscription = subscription;
  }

  get writable(): boolean {
    return this.#bytes < this.#bufferBytes;
  }

  send(frame: Frame | EventsFrame): void {
    const events = frame instanceof EventsFrame;
    if (!events && frame.type === 'connected') return;
    if (!events && frame.type === 'error') {
      this.refused ??= new Refusal(isErrorCode(frame.code) ? frame.code : 'internal', frame.message, frame.retryAfter);
      return;
    }
    const read = () => (events ? (JSON.parse(frame.text.toString()) as Frame) : frame);
    this.#queue(Buffer.byteLength(textOf(frame)), () => this.#subscription.onFrame(read()));
  }

  close(code: number): void {
    const reason: ErrorCode = codeOfClose(code) ?? 'internal';
    this.#queue(0, () => this.#subscription.onEnd(reason));
  }

  /** Drops the frames that wait. None is delivered after this. */
  leave(): void {
    this.#waiting = [];
  }

  #queue(bytes: number, deliver: () => Promise<void> | void): void {
    this.#waiting.push({ bytes, deliver });
    this.#bytes += bytes;
    if (!this.#delivering) void this.#deliver();
  }

  async #deliver(): Promise<void> {
    this.#delivering = true;
    // In a later turn: `subscribe` must resolve before the first event is delivered.
    await new Promise((resolve) => setImmediate(resolve));
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      await next.deliver();
      const wasFull = !this.writable;
      this.#bytes -= next.bytes;
      if (wasFull && this.writable) this.onDrained();
    }
    this.#delivering = false;
  }
}

export interface InProcessDoorOptions {
  readonly sendBufferBytes: number;
  readonly connect: (id: string, transport: Transport, principal: Principal) => Connection;
  readonly logger: Logger;
}

/** Accepts subscriptions of this process. Each is a connection of its own, so that a slow subscriber does not delay others. */
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
    const { sendBufferBytes, connect, logger } = this.#options;
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
    const onFrame = async (frame: Frame) => {
      if (frame.type === 'unsubscribed') return onEnd(frame.code);
      try {
        await subscription.onFrame(frame);
      } catch (error) {
        logger.error({ err: error, channel }, 'a subscriber in this process failed');
        if (this.#open.has(connection)) onEnd('internal');
      }
    };
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
