/**
 * Writes and slices the frame `events` as bytes. PostgreSQL encodes the rows, which are neither parsed nor encoded again.
 * No other module depends on the layout of the bytes.
 */
const ROWS = '"events":[';
const END = ']}';

/** Returns the frame of consecutive rows. `from` is the seq of the first row. */
export function eventsFrame(channel: string, from: number, rows: readonly string[]): Buffer {
  const head = `{"type":"events","channel":${JSON.stringify(channel)},"from":${from},`;
  return Buffer.from(`${head}${ROWS}${rows.join(',')}${END}`);
}

/** Returns a copy of a frame with one more field, at its end. */
export function framed(frame: Buffer, name: string, value: unknown): Buffer {
  return Buffer.concat([frame.subarray(0, -1), Buffer.from(`,${JSON.stringify(name)}:${JSON.stringify(value)}}`)]);
}

/** Returns the rows of a frame: the text of a non-empty JSON array without its brackets. */
export function rowsOf(frame: Buffer): Buffer {
  // The first match is the right one, because quotes in the name of the channel are escaped.
  return frame.subarray(frame.indexOf(ROWS) + ROWS.length, -END.length);
}

/** The seq of the first event of a frame. */
export function firstSeq(frame: Buffer): number {
  const head = frame.subarray(0, frame.indexOf(ROWS)).toString();
  return Number(/"from":(\d+),$/.exec(head)?.[1]);
}

/** Joins the rows of several frames in one JSON array. */
export function arrayOf(frames: readonly Buffer[]): Buffer {
  const parts = frames.flatMap((frame, index) => [Buffer.from(index === 0 ? '[' : ','), rowsOf(frame)]);
  return Buffer.concat([...(frames.length === 0 ? [Buffer.from('[')] : parts), Buffer.from(']')]);
}
