import { type HeldBounds, HeldBytes } from './held-bytes.js';

export interface DeliveryBounds extends HeldBounds {
  /** How long a client may take to read a response that is counted, in milliseconds. */
  readonly readTimeout: number;
}

const MIB = 1024 * 1024;
const BOUNDS: DeliveryBounds = { small: 64 * 1024, ofOne: 16 * MIB, ofAll: 128 * MIB, readTimeout: 30_000 };

/** The part of an HTTP response of Node that is used. */
interface Response {
  readonly destroyed: boolean;
  destroy(): void;
  once(event: 'close', listener: () => void): void;
}

/**
 * Bounds the memory of responses. Each stays in memory until the client has read it: while too many bytes are unread no further
 * response is sent, and a client that does not read is disconnected.
 */
export class Delivery {
  readonly #bounds: DeliveryBounds;
  readonly #unread: HeldBytes;

  constructor(bounds: Partial<DeliveryBounds> = {}) {
    this.#bounds = { ...BOUNDS, ...bounds };
    this.#unread = new HeldBytes(this.#bounds, 'earlier answers wait to be read');
  }

  /** Throws `Refusal` (rate_limited) if a response of this size would be too much. */
  refuse(bytes: number, subject: string): void {
    this.#unread.refuse(subject, bytes);
  }

  /** Counts a response that is about to be sent, until the client has read it. */
  give(response: Response, bytes: number, subject: string): void {
    const { small, readTimeout } = this.#bounds;
    // A destroyed response emits no `close`: it would be counted for ever.
    if (bytes <= small || response.destroyed) return;
    const read = this.#unread.hold(subject, bytes);
    const late = setTimeout(() => response.destroy(), readTimeout);
    response.once('close', () => {
      clearTimeout(late);
      read();
    });
  }
}
