import { Refusal } from '../ground/refusal.js';

export interface DeliveryBounds {
  /** Responses up to this many bytes are not counted: connections are bounded, and each holds about as much anyway. */
  readonly small: number;
  /** Bytes of larger responses that were sent and not read yet: of one subject, and of all. */
  readonly ofOne: number;
  readonly ofAll: number;
  /** How long a client may take to read such a response, in milliseconds. */
  readonly readTimeout: number;
}

const MIB = 1024 * 1024;
const BOUNDS: DeliveryBounds = { small: 64 * 1024, ofOne: 16 * MIB, ofAll: 128 * MIB, readTimeout: 30_000 };

/** Retry hint, in milliseconds. */
const RETRY_AFTER = 1_000;

/** The part of an HTTP response of Node that is used. */
interface Response {
  readonly destroyed: boolean;
  destroy(): void;
  once(event: 'close', listener: () => void): void;
  end(body: Uint8Array): void;
}

/**
 * Bounds the memory of responses. Each stays in memory until the client has read it: while too many bytes are unread no further
 * response is sent, and a client that does not read is disconnected. A single response may exceed the bounds, else it could never
 * be sent.
 */
export class Delivery {
  readonly #bounds: DeliveryBounds;
  readonly #unread = new Map<string, number>();
  #all = 0;

  constructor(bounds: Partial<DeliveryBounds> = {}) {
    this.#bounds = { ...BOUNDS, ...bounds };
  }

  /** Throws `Refusal` (rate_limited) if this response would be too much. */
  refuse(body: Buffer, subject: string): void {
    const { small, ofOne, ofAll } = this.#bounds;
    if (body.length <= small) return;
    if ((this.#unread.get(subject) ?? 0) < ofOne && this.#all < ofAll) return;
    throw new Refusal('rate_limited', 'earlier answers wait to be read', RETRY_AFTER);
  }

  /** Ends the response with this body. */
  give(response: Response, body: Buffer, subject: string): void {
    const { small, readTimeout } = this.#bounds;
    // A destroyed response emits no `close`: it would be counted for ever.
    if (body.length > small && !response.destroyed) {
      this.#count(subject, body.length);
      const late = setTimeout(() => response.destroy(), readTimeout);
      response.once('close', () => {
        clearTimeout(late);
        this.#count(subject, -body.length);
      });
    }
    response.end(body);
  }

  #count(subject: string, bytes: number): void {
    this.#all += bytes;
    const unread = (this.#unread.get(subject) ?? 0) + bytes;
    if (unread > 0) this.#unread.set(subject, unread);
    else this.#unread.delete(subject);
  }
}
