import type { ResetReason } from './frames.js';
import { type Position, parsePosition } from './position.js';

/** The numbering of a channel: events `floor` to `head` can be read (none if `floor` is `head` + 1). */
interface Numbering {
  readonly epoch: string;
  readonly floor: number;
  readonly head: number;
}

/** Where a subscription begins, and the reset that must come first if that is not the requested place. */
export interface Start {
  readonly after: number;
  readonly reset: ResetReason | null;
}

/** `-100`: the newest 100 events. */
const NEWEST = /^-[1-9]\d{0,14}$/;

/** The position that `since` names in the numbering of the channel; null if it names none. */
export function askedPosition(since: string, { epoch, floor, head }: Numbering): Position | null {
  if (since === 'start') return { epoch, seq: floor - 1 };
  if (since === 'now') return { epoch, seq: head };
  if (NEWEST.test(since)) return { epoch, seq: Math.max(floor - 1, head + Number(since)) };
  return parsePosition(since) ?? parsePosition(`${epoch}.${since}`);
}

/** Where a reader begins that requests a position. */
export function startAt(asked: Position, { epoch, floor, head }: Numbering): Start {
  if (asked.epoch !== epoch) return { after: head, reset: 'epoch' };
  if (asked.seq > head) return { after: head, reset: 'ahead' };
  if (asked.seq < floor - 1) return { after: floor - 1, reset: 'pruned' };
  return { after: asked.seq, reset: null };
}
