/** Time in milliseconds, so that tests can move it. */
export interface Clock {
  now(): number;
  /** Runs `task` once after `delay` milliseconds, unless the returned function is called before. */
  after(delay: number, task: () => void): () => void;
}

/** The longest delay of a Node timer, about 24 days. Longer delays end early, and callers check the time again. */
const LONGEST = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delay, task) {
    const timer = setTimeout(task, Math.min(delay, LONGEST));
    return () => clearTimeout(timer);
  },
};
