const EVENTS = Buffer.from('"events":[');

/** The rows of an `events` frame, as they are written: a JSON array without its brackets, which is not empty. */
export function rowsOf(frame: Buffer): Buffer {
  // A quote in the name of the channel is escaped: it cannot look like this.
  return frame.subarray(frame.indexOf(EVENTS) + EVENTS.length, -2);
}

/** The seq of the first event of a frame. */
export function firstSeq(frame: Buffer): number {
  const head = frame.subarray(0, frame.indexOf(EVENTS) - 1).toString();
  return Number(/"from":(\d+)$/.exec(head)?.[1]);
}

/** The rows of several frames in one JSON array. */
export function arrayOf(frames: readonly Buffer[]): Buffer {
  const parts = frames.flatMap((frame, index) => [Buffer.from(index === 0 ? '[' : ','), rowsOf(frame)]);
  return Buffer.concat([...(frames.length === 0 ? [Buffer.from('[')] : parts), Buffer.from(']')]);
}
