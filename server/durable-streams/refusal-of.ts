import { type Frame, isErrorCode, type Since } from '@rowcast/client/protocol';
import { Refusal } from '../ground/refusal.js';

/**
 * Returns the refusal that ends a stream after this frame, or null. `since` is the position of the request, or null if the
 * reader has received an offset since. A reset is no error for a reader without a position.
 */
export function refusalOf(frame: Frame, since: Since | null): Refusal | null {
  // One event is left out. Its protocol has no word for that, and the offsets show it.
  if (frame.type === 'reset' && (frame.reason === 'too_large' || frame.reason === 'unreadable')) return null;
  if (frame.type === 'stalled') return new Refusal(isErrorCode(frame.code) ? frame.code : 'internal');
  if (frame.type === 'reset') return since === 'start' || since === 'now' ? null : new Refusal('position_gone');
  if (frame.type !== 'error' && frame.type !== 'unsubscribed' && frame.type !== 'paused') return null;
  const code = isErrorCode(frame.code) ? frame.code : 'internal';
  return frame.type === 'error' ? new Refusal(code, frame.message) : new Refusal(code);
}
