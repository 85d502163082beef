/**
 * The frame `events` as bytes, written and sliced here alone: PostgreSQL has encoded the rows, and they are neither
 * parsed nor encoded again.
 */
const ROWS = '"events":[';
const END = ']}';

/** The frame of rows that follow each other, the first of which has the seq `from`. */
export function eventsFrame(channel: string, from: number, rows: readonly string[]): Buffer {
  const head = `{"type":"events","channel":${JSON.stringify(channel)},"from":${from},`;
  return Buffer.from(`${head}${ROWS}${rows.join(',')}${END}`);
}

/** The rows of a frame, as they are written: a JSON array without its brackets, which is not empty. */
export function rowsOf(frame: Buffer): Buffer {
  // A quote in the name of the channel is escaped: it cannot look like this.
  return frame.subarray(frame.indexOf(ROWS) + ROWS.length, -END.length);
}

/** The seq of the first event of a frame. */
export function firstSeq(frame: Buffer): number {
  const head = frame.subarray(0, frame.indexOf(ROWS)).toString();
  return Number(/"from":(\d+),$/.exec(head)?.[1]);
}

/** The rows of several frames in one JSON array. */
export function arrayOf(frames: readonly Buffer[]): Buffer {
  const parts = frames.flatMap((frame, index) => [Buffer.from(index === 0 ? '[' : ','), rowsOf(frame)]);
  return Buffer.concat([...(frames.length === 0 ? [Buffer.from('[')] : parts), Buffer.from(']')]);
}
