import { type Frame, isErrorCode, type Since } from '@rowcast/client/protocol';
import { Refusal } from '../ground/refusal.js';

/**
 * Why a reader cannot go on, if a frame says so. `since` is what it asked, null where it was told a position meanwhile:
 * to who knows no position a reset means nothing.
 */
export function endOf(frame: Frame, since: Since | null): Refusal | null {
  if (frame.type === 'reset') return since === 'start' || since === 'now' ? null : new Refusal('position_gone');
  if (frame.type !== 'error' && frame.type !== 'unsubscribed' && frame.type !== 'paused') return null;
  const code = isErrorCode(frame.code) ? frame.code : 'internal';
  return frame.type === 'error' ? new Refusal(code, frame.message) : new Refusal(code);
}
