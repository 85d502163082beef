import type { Since } from '@rowcast/client/protocol';
import type { EventFormat, Place } from '../ports/door.js';
import { rowsOf } from '../ports/events-frame.js';
import { endOf } from './ending.js';
import { formatOffset } from './offset.js';

/** JSON has line breaks between its tokens only; each begins another line of the same event. */
const LINE_BREAK = /\r\n|[\r\n]/g;

/**
 * Writes the frames of one subscription as the protocol's events: the rows as `data`, and after them where the reader
 * stands as `control`. A stream that cannot go on ends: the reader comes back with its offset, and hears then what is the
 * matter.
 */
export function eventStream(since: Since, cursor: number, place: Place): EventFormat {
  let told = false;
  const control = (): string => {
    told = true;
    const [[, position] = ['', '']] = place.positions();
    const upToDate = place.behind ? {} : { upToDate: true };
    const state = { streamNextOffset: formatOffset(position), streamCursor: String(cursor), ...upToDate };
    return `event: control\ndata:${JSON.stringify(state)}\n\n`;
  };
  return (frame) => {
    if (Buffer.isBuffer(frame)) {
      const rows = rowsOf(frame).toString().replace(LINE_BREAK, '\ndata:');
      return { parts: [`event: data\ndata:[${rows}]\n\n`, control()] };
    }
    const end = endOf(frame, told ? null : since);
    if (end !== null) return { parts: [], end };
    return { parts: frame.type === 'subscribed' && !place.behind ? [control()] : [] };
  };
}
