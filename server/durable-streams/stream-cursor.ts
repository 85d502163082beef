/** The protocol numbers intervals of this length, in milliseconds, from this time on. */
const INTERVAL = 20_000;
const EPOCH = Date.UTC(2024, 9, 9);

/** Maximum jitter for a cursor that is not older than the current interval, in intervals: an hour. */
const MAX_JITTER = 3_600_000 / INTERVAL;

/**
 * Returns the value of Stream-Cursor: the number of the current interval, or a higher number than the client has sent. It
 * becomes part of the next URL, so that no cache returns the same response for ever. `random` is in 0 … 1, 1 excluded.
 */
export function nextStreamCursor(now: number, sent: number | undefined, random: number): number {
  const current = Math.floor((now - EPOCH) / INTERVAL);
  return sent === undefined || sent < current ? current : sent + 1 + Math.floor(random * MAX_JITTER);
}
