import { parseFrame, type Since } from '../../client/protocol/index.js';
import type { Refusal } from '../refusal.js';
import { endOf } from './ending.js';
import { rowsOf } from './events-frame.js';
import { formatOffset } from './offset.js';

/** Where the one subscription of a connection stands. */
export interface Place {
  readonly behind: boolean;
  positions(): readonly (readonly [channel: string, since: Since])[];
}

/** JSON has line breaks between its tokens only; each begins another line of the same event. */
const LINE_BREAK = /\r\n|[\r\n]/g;

/**
 * Writes frames as the protocol's events: the rows as `data`, and after them where the reader stands as `control`. A
 * stream that cannot go on ends: the reader comes back with its offset, and hears then what is the matter.
 */
export function eventStream(since: Since, cursor: number, place: Place) {
  let told = false;
  const control = (): string => {
    told = true;
    const [[, position] = ['', '']] = place.positions();
    const upToDate = place.behind ? {} : { upToDate: true };
    const state = { streamNextOffset: formatOffset(position), streamCursor: String(cursor), ...upToDate };
    return `event: control\ndata:${JSON.stringify(state)}\n\n`;
  };
  return (frame: string | Buffer): { parts: readonly string[]; end?: Refusal } => {
    if (typeof frame !== 'string') {
      const rows = rowsOf(frame).toString().replace(LINE_BREAK, '\ndata:');
      return { parts: [`event: data\ndata:[${rows}]\n\n`, control()] };
    }
    const reply = parseFrame(frame);
    const end = endOf(reply, told ? null : since);
    if (end !== null) return { parts: [], end };
    return { parts: reply?.type === 'subscribed' && !place.behind ? [control()] : [] };
  };
}
