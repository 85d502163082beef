/** Time, in milliseconds. */
export interface Clock {
  now(): number;
  /** Runs `task` once after `delay`, unless the returned function was called before. */
  after(delay: number, task: () => void): () => void;
}

/** Node's timers reach about 24 days; whoever waits longer is woken early and looks again. */
const LONGEST = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delay, task) {
    const timer = setTimeout(task, Math.min(delay, LONGEST));
    return () => clearTimeout(timer);
  },
};
