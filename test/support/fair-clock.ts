import { afterAll } from '@jest/globals';
import { load } from './load.mjs';

/** How often it looks at the load, in milliseconds. */
const LOOK = 20;

let counted = 0;
let before = performance.now();

function look(): void {
  const now = performance.now();
  counted += (now - before) / load();
  before = now;
}

const timer = setInterval(look, LOOK).unref();
afterAll(() => clearInterval(timer));

/**
 * The time for assertions that something took at most so long, in milliseconds: time in which more is running than the
 * machine has cores counts for less. On an idle machine it is the time.
 */
export function fairNow(): number {
  look();
  return counted;
}
