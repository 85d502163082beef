import { Refusal } from '../ground/refusal.js';

export interface DeliveryBounds {
  /** Answers up to so many bytes are not counted: connections are bounded, and one holds about as much in any case. */
  readonly small: number;
  /** Bytes of larger answers that were given and are not taken yet: by one subject, and by all. */
  readonly ofOne: number;
  readonly ofAll: number;
  /** How long such an answer may take to be read, in milliseconds. */
  readonly patience: number;
}

const MIB = 1024 * 1024;
const BOUNDS: DeliveryBounds = { small: 64 * 1024, ofOne: 16 * MIB, ofAll: 128 * MIB, patience: 30_000 };

/** When to come back, in milliseconds. */
const RETRY_AFTER = 1_000;

/** What an HTTP response of Node has of it. */
interface Response {
  readonly destroyed: boolean;
  destroy(): void;
  once(event: 'close', listener: () => void): void;
  end(body: Uint8Array): void;
}

/**
 * Gives answers. Each stays in memory until it is read: where too much waits already no more is given, and whoever does
 * not read is sent away. One answer may be larger than the bounds, else it could never be given.
 */
export class Delivery {
  readonly #bounds: DeliveryBounds;
  readonly #waiting = new Map<string, number>();
  #all = 0;

  constructor(bounds: Partial<DeliveryBounds> = {}) {
    this.#bounds = { ...BOUNDS, ...bounds };
  }

  /** Throws `Refusal` (rate_limited) where this answer would be too much. */
  refuse(body: Buffer, subject: string): void {
    const { small, ofOne, ofAll } = this.#bounds;
    if (body.length <= small) return;
    if ((this.#waiting.get(subject) ?? 0) < ofOne && this.#all < ofAll) return;
    throw new Refusal('rate_limited', 'earlier answers wait to be read', RETRY_AFTER);
  }

  /** Ends the response. */
  give(response: Response, body: Buffer, subject: string): void {
    const { small, patience } = this.#bounds;
    // Whoever has gone takes nothing, and nothing would say so again.
    if (body.length > small && !response.destroyed) {
      this.#count(subject, body.length);
      const late = setTimeout(() => response.destroy(), patience);
      response.once('close', () => {
        clearTimeout(late);
        this.#count(subject, -body.length);
      });
    }
    response.end(body);
  }

  #count(subject: string, bytes: number): void {
    this.#all += bytes;
    const waiting = (this.#waiting.get(subject) ?? 0) + bytes;
    if (waiting > 0) this.#waiting.set(subject, waiting);
    else this.#waiting.delete(subject);
  }
}
