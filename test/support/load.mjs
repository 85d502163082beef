import { readFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';

/** A machine with more work than that for each core is not waited for. */
const MOST = 10;

/** How many tasks of this machine run, or could run now. Where the kernel does not say, the mean of the last minute. */
function runnable() {
  try {
    return Number(readFileSync('/proc/loadavg', 'utf8').split(/[ /]/)[3]);
  } catch {
    return loadavg()[0];
  }
}

export function load() {
  return Math.min(MOST, Math.max(1, runnable() / availableParallelism()));
}
