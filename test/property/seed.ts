/** The seed of the property tests of a file. It is printed, so that a run that failed can be repeated: ROWCAST_SEED=… npm run jest -- … */
export function seed(file: string): number {
  process.stderr.write(`${file}: ROWCAST_SEED=${process.env.ROWCAST_SEED}\n`);
  return Number(process.env.ROWCAST_SEED);
}
