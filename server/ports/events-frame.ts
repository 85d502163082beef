/**
 * Writes and slices the frame `events` as bytes. PostgreSQL encodes the rows, which are neither parsed nor encoded again.
 * No other module depends on the layout of the bytes.
 */
import { textMessage } from '../ground/text-message.js';

const ROWS = '"events":[';
const END = ']}';

/** A frame of consecutive events as bytes. It is made once, for all readers at the same position. */
export class EventsFrame {
  /** The seq of its first and of its last event. */
  readonly from: number;
  readonly to: number;
  /** The frame as a WebSocket message, header included. */
  readonly message: Buffer;
  /** Its JSON text: the end of `message`. */
  readonly text: Buffer;

  /** The JSON text in one part, or in several. */
  constructor(from: number, to: number, ...json: readonly (string | Buffer)[]) {
    this.from = from;
    this.to = to;
    const { message, text } = textMessage(...json);
    this.message = message;
    this.text = text;
  }
}

/** Returns the frame of the rows `from` to `to`, whose texts are joined by commas. */
export function eventsFrame(channel: string, from: number, to: number, texts: Buffer): EventsFrame {
  return new EventsFrame(
    from,
    to,
    `{"type":"events","channel":${JSON.stringify(channel)},"from":${from},${ROWS}`,
    texts,
    END,
  );
}

/** Returns a copy of a frame with one more field, at its end. */
export function framed({ from, to, text }: EventsFrame, name: string, value: unknown): EventsFrame {
  return new EventsFrame(from, to, `${text.toString().slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify(value)}}`);
}

/** Returns the rows of a frame: the text of a non-empty JSON array without its brackets. */
export function rowsOf({ text }: EventsFrame): Buffer {
  // The first match is the right one, because quotes in the name of the channel are escaped.
  return text.subarray(text.indexOf(ROWS) + ROWS.length, -END.length);
}

/** Joins the rows of several frames in one JSON array. */
export function arrayOf(frames: readonly EventsFrame[]): Buffer {
  const parts = frames.flatMap((frame, index) => [Buffer.from(index === 0 ? '[' : ','), rowsOf(frame)]);
  return Buffer.concat([...(frames.length === 0 ? [Buffer.from('[')] : parts), Buffer.from(']')]);
}
