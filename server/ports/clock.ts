/** Time, in milliseconds. */
export interface Clock {
  now(): number;
  /** Runs `task` once after `delay`, unless the returned function was called before. */
  after(delay: number, task: () => void): () => void;
}
