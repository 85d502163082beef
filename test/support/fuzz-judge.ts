import { isErrorCode } from '../../client/protocol/index.js';

/** No answer tells how the gateway is made: its SQL, its tables, a stack, a path. The fuzz itself says nothing of it. */
const INSIDE =
  /\bSELECT\b|\bFROM rowcast|pg_catalog|row_to_json|SQLSTATE|violates|syntax error|node_modules|\.[jt]s:\d+|\bat .+ \(/;

/** A frame as the fuzz reads it: the fields of all types. */
export interface AnyFrame {
  readonly type: string;
  readonly id?: number;
  readonly code?: string;
  readonly channel?: string;
  readonly position?: string;
  readonly from?: number;
  readonly events?: readonly unknown[];
}

const REPLIES = new Set(['connected', 'subscribed', 'unsubscribed', 'refreshed', 'pong', 'error']);

/** Whether it answers a command. */
export function isReply({ type }: AnyFrame): boolean {
  return REPLIES.has(type);
}

/** Why a text must not have been sent, if it must not. */
export function faultOfText(text: string): string | null {
  return INSIDE.test(text) ? `it tells how it is made: ${text.slice(0, 400)}` : null;
}

/** Whether a code is in the table, and none that only a gateway in trouble sends: this one never is. */
function isSound(code: string | undefined): boolean {
  return code !== undefined && isErrorCode(code) && code !== 'internal' && code !== 'unavailable';
}

/**
 * Judges the frames of one connection in their order; says what is wrong with a frame, if something is. `replies`: it is
 * told of subscriptions before their events.
 */
export function frameJudge(replies = true): (frame: AnyFrame) => string | null {
  const next = new Map<string, number>();
  return (frame) => {
    const { type, channel = '', code } = frame;
    const told = type === 'events' ? null : faultOfText(JSON.stringify(frame));
    if (told !== null) return told;
    if (type === 'error') return isSound(code) ? null : JSON.stringify(frame);
    if (type === 'subscribed') next.set(channel, 0);
    if (type === 'reset') next.set(channel, Number(frame.position?.split('.')[1]) + 1);
    if (type !== 'events') return isReply(frame) || type === 'reset' ? null : `no frame: ${JSON.stringify(frame)}`;
    const { from = 0, events = [] } = frame;
    const expected = next.get(channel) ?? (replies ? undefined : 0);
    next.set(channel, from + events.length);
    const inOrder = expected !== undefined && events.length > 0 && (expected === 0 || from === expected);
    return inOrder ? null : `out of order: ${JSON.stringify(frame)}`;
  };
}
