/** Time is divided into intervals of so many milliseconds, counted from a moment that the protocol names. */
const INTERVAL = 20_000;
const BEGINNING = Date.UTC(2024, 9, 9);

/** The most that is added to a cursor which is not older than the present interval, in intervals: an hour. */
const MAX_JITTER = 3_600_000 / INTERVAL;

/**
 * The cursor of an answer: the number of the present interval, or a later one than the client has shown. It becomes part
 * of the next URL, so that no cache answers the same question for ever. `random` is in 0 … 1, 1 excluded.
 */
export function nextCursor(now: number, shown: number | undefined, random: number): number {
  const present = Math.floor((now - BEGINNING) / INTERVAL);
  return shown === undefined || shown < present ? present : shown + 1 + Math.floor(random * MAX_JITTER);
}
