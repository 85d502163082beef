import type { Machine } from '../harness/machine.js';
import type { Outcome } from '../harness/run.js';

/** What `npm run bench -- --json` writes: docs/performance.json is one. */
export interface Report {
  readonly machine: Machine;
  /** A run that shows that everything works, and measures nothing. */
  readonly quick: boolean;
  readonly scenarios: readonly Outcome[];
}
