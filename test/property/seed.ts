/**
 * The seed of the property tests of a file: that of the environment, or another one at each run. It is printed, so
 * that a run that failed can be repeated: ROWCAST_SEED=… npm run jest -- --selectProjects pure …
 */
export function seed(file: string): number {
  const chosen = Number(process.env.ROWCAST_SEED || Date.now() % 2 ** 31);
  process.stderr.write(`${file}: ROWCAST_SEED=${chosen}\n`);
  return chosen;
}
