import { formatPosition, type Position, type ResetReason } from '@rowcast/client/protocol';
import type { Channel, Reader } from '../hub/channel.js';

export interface CursorEvents {
  onReady(cursor: Cursor): void;
  onReset(cursor: Cursor, reason: ResetReason, position: Position): void;
  onEnd(cursor: Cursor): void;
}

/** One subscription of one connection: a place in a channel. Replay and live delivery are the same: what follows it. */
export class Cursor implements Reader {
  readonly channel: Channel;
  readonly #events: CursorEvents;
  #after: number;

  constructor(channel: Channel, after: number, events: CursorEvents) {
    this.channel = channel;
    this.#after = after;
    this.#events = events;
  }

  get after(): number {
    return this.#after;
  }

  get position(): string {
    return formatPosition({ epoch: this.channel.state.epoch, seq: this.#after });
  }

  get behind(): boolean {
    return this.#after < this.channel.state.head;
  }

  /** The next frame to send, moving past it; null where it is not in memory, and then the channel was asked for it. */
  take(): Buffer | null {
    const frame = this.channel.next(this.#after);
    if (frame === null) {
      if (this.behind) this.channel.want(this);
      return null;
    }
    this.#after = frame.to;
    return frame.data;
  }

  advance(): void {
    if (this.behind) this.#events.onReady(this);
  }

  reset(reason: ResetReason, position: Position): void {
    this.#after = position.seq;
    this.#events.onReset(this, reason, position);
  }

  end(): void {
    this.#events.onEnd(this);
  }
}
