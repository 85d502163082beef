import type { Since } from '@rowcast/client/protocol';
import type { EventFormat, Place } from '../ports/door.js';
import { EventsFrame, rowsOf } from '../ports/events-frame.js';
import { formatOffset } from './offset.js';
import { refusalOf } from './refusal-of.js';

/** JSON has line breaks between its tokens only. Each starts another `data` line of the same event. */
const LINE_BREAK = /\r\n|[\r\n]/g;

/**
 * Formats the frames of one subscription as events of the protocol: `data` with the rows, then `control` with the offset
 * after them. A stream that cannot continue ends. The reader reconnects with its offset, and gets the error as HTTP status.
 */
export function eventStream(since: Since, cursor: number, place: Place): EventFormat {
  let sentOffset = false;
  const control = (): string => {
    sentOffset = true;
    const [[, position] = ['', '']] = place.positions();
    const upToDate = place.behind ? {} : { upToDate: true };
    const state = { streamNextOffset: formatOffset(position), streamCursor: String(cursor), ...upToDate };
    return `event: control\ndata:${JSON.stringify(state)}\n\n`;
  };
  return (frame) => {
    if (frame instanceof EventsFrame) {
      const rows = rowsOf(frame).toString().replace(LINE_BREAK, '\ndata:');
      return { parts: [`event: data\ndata:[${rows}]\n\n`, control()] };
    }
    const end = refusalOf(frame, sentOffset ? null : since);
    if (end !== null) return { parts: [], end };
    return { parts: frame.type === 'subscribed' && !place.behind ? [control()] : [] };
  };
}
