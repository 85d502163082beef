import type { ResetReason } from './frames.js';
import { type Position, parsePosition } from './position.js';

/** Where a channel's numbering stands: events floor to head can be read (none where floor is head + 1). */
interface Numbering {
  readonly epoch: string;
  readonly floor: number;
  readonly head: number;
}

/** Where a subscription begins, and the reset that has to be said first if that is not where it was asked to. */
export interface Start {
  readonly after: number;
  readonly reset: ResetReason | null;
}

/** The position that `since` asks for, in the numbering of the channel; null where it is no position. */
export function askedPosition(since: string, { epoch, floor, head }: Numbering): Position | null {
  if (since === 'start') return { epoch, seq: floor - 1 };
  if (since === 'now') return { epoch, seq: head };
  return parsePosition(since) ?? parsePosition(`${epoch}.${since}`);
}

/** Where a reader that asked for a position begins. */
export function startAt(asked: Position, { epoch, floor, head }: Numbering): Start {
  if (asked.epoch !== epoch) return { after: head, reset: 'epoch' };
  if (asked.seq > head) return { after: head, reset: 'ahead' };
  if (asked.seq < floor - 1) return { after: floor - 1, reset: 'pruned' };
  return { after: asked.seq, reset: null };
}
