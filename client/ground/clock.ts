/** Time as the client's state machines see it, so that tests can turn it by hand. Times in milliseconds. */
export interface Clock {
  now(): number;
  /** Runs `task` once after `delay`, unless the returned function was called before. */
  after(delay: number, task: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delay, task) {
    const timer = setTimeout(task, delay);
    return () => clearTimeout(timer);
  },
};
