import type { LogWindow } from './log.js';

/** A log whose code is being loaded. */
export const NO_LOG: LogWindow = {
  status: 'loading',
  error: null,
  length: 0,
  floor: 0,
  head: 0,
  resets: [],
  searched: null,
  at: () => undefined,
  seqAt: () => undefined,
  indexOf: () => 0,
  show: () => {},
};
