/** The seed of the property tests of a file. It is printed, so that a run that failed can be repeated: ROWCAST_SEED=… npm run jest -- … */
export function seed(file: string): number {
  process.stderr.write(`${file}: ROWCAST_SEED=${process.env.ROWCAST_SEED}\n`);
  return Number(process.env.ROWCAST_SEED);
}

/** How many cases a property test draws: `count`, or `ROWCAST_RUNS` times as many, to look for longer. */
export function runs(count: number): number {
  return count * Number(process.env.ROWCAST_RUNS || 1);
}
