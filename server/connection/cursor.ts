import { type Position, parsePosition, type ResetReason } from '../../client/protocol/index.js';
import type { Channel } from '../hub/channel.js';
import type { ChannelState, Reader } from '../ports.js';

/** Where a subscription begins, and the reset that has to be said first if that is not where it was asked to. */
export interface Start {
  readonly after: number;
  readonly reset: ResetReason | null;
}

/** The position that `since` asks for, in the numbering of `state`; null where it is no position. */
export function askedPosition(since: string, { epoch, floor, head }: ChannelState): Position | null {
  if (since === 'start') return { epoch, seq: floor - 1 };
  if (since === 'now') return { epoch, seq: head };
  return parsePosition(since) ?? parsePosition(`${epoch}.${since}`);
}

/** Where a reader that asked for a position begins. */
export function startAt(asked: Position, { epoch, floor, head }: ChannelState): Start {
  if (asked.epoch !== epoch) return { after: head, reset: 'epoch' };
  if (asked.seq > head) return { after: head, reset: 'ahead' };
  if (asked.seq < floor - 1) return { after: floor - 1, reset: 'pruned' };
  return { after: asked.seq, reset: null };
}

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
